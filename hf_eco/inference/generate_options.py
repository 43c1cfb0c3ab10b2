"""Every option of `generate`, and what the guard does about it. What an option can have a model say is a part of the
conversation, and no verdict of the model's: `answer_watch` judges it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import transformers
from transformers import GenerationConfig

from ..errors import GuardError

Treatment = Literal["harmless", "watched", "prompt", "followed"]
TREATMENTS: dict[Treatment, str] = {
    "harmless": "passed on as it is",
    "prompt": "judged with the prompt, before anything runs",
    "watched": "what is generated is judged as well: while it is generated, and before it is returned",
    "followed": "every forward pass is judged with all that was fed before",
}


class Option(NamedTuple):
    """What the guard does about an option of `generate`.

    Attributes:
        treatment: one of `TREATMENTS`.
        why: in a few words.
        applies: of its value, whether that is needed; always if None.
    """

    treatment: Treatment
    why: str
    applies: Callable[[Any], bool] | None = None


FEW_BANS = 16  # bans that leave a model its own words; models end answers by fewer tokens, and suppress fewer


def _size(value: Any) -> int:
    """How many tokens a list of ids, or of lists of them, names."""
    return len(value) if hasattr(value, "__len__") else 1


def _bans_many(value: Any) -> bool:
    """Whether so much is banned that what is left may be dictated: to have a model say a word, ban whatever it would
    rather say in its place. For a word of SmolLM2's that is a hundred tokens or less."""
    return _size(value) > FEW_BANS


def _steers(value: Any) -> bool:
    biases = value.values() if isinstance(value, Mapping) else [entry[-1] for entry in value]
    return any(not bias <= 0 for bias in biases) or _bans_many(value)


_LENGTH = Option("harmless", "says where to stop")
_SAMPLING = Option("harmless", "chooses among what the model gives a chance")
_REPEATING = Option("harmless", "tells tokens that stand there already from others")
_CACHE = Option("harmless", "how states are kept")
_OUTPUT = Option("harmless", "what is returned beside the tokens")
_BEAMS = Option("harmless", "searches by the model's own scores")
_DRAFTS = Option("harmless", "drafts, which the model itself accepts or not")
_SPEED = Option("harmless", "how the model is run")
_NAMES = Option("harmless", "which tokens begin, end and pad; padding is judged as the mask it makes")
_BANS = Option("watched", f"where it bans more than {FEW_BANS}, what is left may be dictated", _bans_many)
_ENDS = Option(
    "watched", f"where there are more than {FEW_BANS}, a minimal length leaves over what is dictated", _bans_many
)
_WORDS = Option("watched", "dictates words")
_CODE = Option("watched", "code of yours, which may dictate words")
_METADATA = Option("harmless", "says where the options come from")
_REMOVED = Option("harmless", "decoding that transformers loads from the Hub; it searches by the model's own scores")

# Attributes of GenerationConfig.
OF_CONFIG: dict[str, Option] = {
    **dict.fromkeys(
        ["max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time", "stop_strings"], _LENGTH
    ),
    **dict.fromkeys(["exponential_decay_length_penalty", "forced_eos_token_id"], _LENGTH),
    **dict.fromkeys(["do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"], _SAMPLING),
    **dict.fromkeys(["epsilon_cutoff", "eta_cutoff", "renormalize_logits", "remove_invalid_values"], _SAMPLING),
    "repetition_penalty": Option("watched", "below 1, dictates words of the prompt", lambda penalty: not penalty >= 1),
    "encoder_repetition_penalty": Option(
        "watched", "above 1, dictates words of the prompt", lambda penalty: not penalty <= 1
    ),
    **dict.fromkeys(["no_repeat_ngram_size", "encoder_no_repeat_ngram_size"], _REPEATING),
    **dict.fromkeys(["use_cache", "cache_implementation", "cache_config", "max_cache_len"], _CACHE),
    **dict.fromkeys(["output_attentions", "output_hidden_states", "output_scores", "output_logits"], _OUTPUT),
    "return_dict_in_generate": _OUTPUT,
    **dict.fromkeys(["num_beams", "early_stopping", "length_penalty", "num_return_sequences"], _BEAMS),
    **dict.fromkeys(["use_mtp", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule"], _DRAFTS),
    **dict.fromkeys(["assistant_confidence_threshold", "prompt_lookup_num_tokens", "speculation_type"], _DRAFTS),
    **dict.fromkeys(["max_matching_ngram_size", "assistant_early_exit"], _DRAFTS),
    **dict.fromkeys(["assistant_lookbehind", "target_lookbehind"], _DRAFTS),
    "assistant_ensemble_weight": Option("watched", "the assistant has a say in what is accepted"),
    **dict.fromkeys(["compile_config", "disable_compile", "low_memory", "prefill_chunk_size"], _SPEED),
    "continuous_batching_config": Option("harmless", "how batches are run; what cannot be guarded is turned off"),
    **dict.fromkeys(["pad_token_id", "bos_token_id", "decoder_start_token_id"], _NAMES),
    "eos_token_id": _ENDS,
    **dict.fromkeys(["bad_words_ids", "suppress_tokens", "begin_suppress_tokens"], _BANS),
    "sequence_bias": Option("watched", f"dictates words, where it raises any or lowers more than {FEW_BANS}", _steers),
    **dict.fromkeys(["forced_bos_token_id", "constraints", "force_words_ids"], _WORDS),
    "watermarking_config": Option("watched", "prefers tokens by a key, which may be chosen for what it prefers"),
    "token_healing": Option("prompt", "rewrites the prompt's end"),
    "guidance_scale": Option("prompt", "leads away from another prompt"),
    **dict.fromkeys(["penalty_alpha", "dola_layers", "diversity_penalty", "num_beam_groups"], _REMOVED),
    "transformers_version": _METADATA,
}
# Arguments of generate() itself.
OF_CALL: dict[str, Option] = {
    "inputs": Option("prompt", "the prompt"),
    "generation_config": Option("harmless", "each of its options as said above"),
    "logits_processor": _CODE,
    "stopping_criteria": _LENGTH,
    "prefix_allowed_tokens_fn": _CODE,
    "synced_gpus": _SPEED,
    "assistant_model": _DRAFTS,
    "streamer": Option("harmless", "reads; what is watched is judged at every token then"),
    **dict.fromkeys(["negative_prompt_ids", "negative_prompt_attention_mask"], Option("prompt", "another prompt")),
    "custom_generate": Option("followed", "code of yours, which may feed whatever it likes"),
    "kwargs": Option("harmless", "options as said above, and what the model's forward takes"),
}


def watched_options(value_of: Callable[[str], Any]) -> tuple[str, ...]:
    """The options of a call that can put words into the model's mouth.

    Args:
        value_of: an option's value, None if it is not set.

    Raises:
        GuardError: the call has an option that is known to transformers and not to hf-eco.
    """
    public = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    for name in sorted(public - OF_CONFIG.keys()):
        if value_of(name) is not None:
            raise GuardError(
                f"hf-eco does not know the option {name!r} of generate, which transformers {transformers.__version__} "
                "has: it may put words into the model's mouth. Leave it out, or pip install -U hf-eco."
            )
    found = []
    for name, option in {**OF_CONFIG, **OF_CALL}.items():
        value = value_of(name) if option.treatment == "watched" else None
        if _is_set(value) and (option.applies is None or option.applies(value)):
            found.append(name)
    return tuple(found)


def _is_set(value: Any) -> bool:
    return value is not None and not (hasattr(value, "__len__") and len(value) == 0)
