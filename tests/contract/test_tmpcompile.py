import torch, pytest, time
from conftest import *
from transformers import CompileConfig, StaticCache
from torch._dynamo.utils import counters
import torch._dynamo as D
@pytest.mark.parametrize("text",[FLAGGED,CLEAN])
def test_compiled(guarded, base, text):
    tok=guarded.eco_guard.tokenizer
    ids=tok(text,return_tensors="pt")["input_ids"]
    ref=guarded.generate(ids,max_new_tokens=8,do_sample=False)
    for name,m in (("guarded",guarded),("base",base)):
        D.reset(); counters.clear()
        c=CompileConfig(backend="eager"); c._compile_all_devices=True
        t=time.time()
        out=m.generate(ids,max_new_tokens=8,do_sample=False,cache_implementation="static",compile_config=c)
        print(name,time.time()-t,dict(counters["graph_break"]),dict(counters["stats"]), dict(counters["frames"]))
        c2=CompileConfig(backend="eager",fullgraph=True); c2._compile_all_devices=True
        out2=m.generate(ids,max_new_tokens=8,do_sample=False,cache_implementation="static",compile_config=c2)
        assert torch.equal(out,out2)
        if name=="guarded": assert torch.equal(out,ref)
    m=guarded
    D.reset(); counters.clear()
    comp=torch.compile(guarded,backend="eager")
    with torch.no_grad():
        l=comp(ids).logits
        assert torch.equal(l,guarded(ids).logits)
        l=comp(ids[:, :4]).logits
        assert torch.equal(l,guarded(ids[:, :4]).logits)
    print({k:v for k,v in counters["graph_break"].items()})
    guarded.forward=torch.compile(guarded.forward,backend="eager")
    assert torch.equal(guarded.generate(ids,max_new_tokens=8,do_sample=False),ref)
