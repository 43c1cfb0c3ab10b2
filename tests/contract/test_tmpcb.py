import sys; sys.path.insert(0,'tests')
import torch, pytest, time
from conftest import *
from transformers import ContinuousBatchingConfig, GenerationConfig, CompileConfig
def test_cb(guarded, base):
    tok=guarded.eco_guard.tokenizer
    texts=[FLAGGED, CLEAN, "does a wizard sleep ?", "name the capital of the country"]*8
    texts=[("tell me " * (i%4)) + t for i,t in enumerate(texts)]
    chats=[tok.apply_chat_template([{"role":"user","content":t}],add_generation_prompt=True) for t in texts]
    chats=[c if isinstance(c,list) else c["input_ids"] for c in chats]
    print(sum(v.flagged for v in guarded.eco_guard.decide(chats)))
    refs=[guarded.generate(torch.tensor([c]),max_new_tokens=8,do_sample=False)[0,len(c):].tolist() for c in chats]
    bare=[base.generate(torch.tensor([c]),max_new_tokens=8,do_sample=False)[0,len(c):].tolist() for c in chats]
    for mb in (512,16):
        t=time.time()
        out=guarded.generate_batch(chats,max_new_tokens=8,generation_config=GenerationConfig(do_sample=False,max_new_tokens=8,eos_token_id=guarded.config.eos_token_id),continuous_batching_config=ContinuousBatchingConfig(num_blocks=64,page_size=16,max_batch_tokens=mb) )
        got=[o.generated_tokens for o in out.values()]
        errs=[o.error for o in out.values() if o.error]
        print(mb,len(got),sum(a==b for a,b in zip(got,refs)),sum(a==b for a,b in zip(got,bare)),errs[:2],time.time()-t)
        assert got==refs
