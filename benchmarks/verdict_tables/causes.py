"""Why a class is not safe, as its code in transformers 5.23 says: each was read, and each names its place.

A verdict "different" without an entry here is a false alarm until somebody has read the code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One sentence, and where to read it: `models/<file>`, a function of it."""

    sentence: str
    file: str
    function: str


def _counted(file: str, function: str) -> Cause:
    return Cause(
        "Positions are counted over the padding: a range that starts at the cache's length, the same for "
        "every row, and `generate` has no argument to say otherwise.",
        file,
        function,
    )


CAUSES: dict[str, Cause] = {
    "bart": _counted("bart/modeling_bart.py", "BartDecoder.forward"),
    "bigbird_pegasus": _counted(
        "bigbird_pegasus/modeling_bigbird_pegasus.py", "BigBirdPegasusDecoder.forward"
    ),
    "blenderbot": _counted("blenderbot/modeling_blenderbot.py", "BlenderbotDecoder.forward"),
    "blenderbot-small": _counted(
        "blenderbot_small/modeling_blenderbot_small.py", "BlenderbotSmallDecoder.forward"
    ),
    "marian": _counted("marian/modeling_marian.py", "MarianDecoder.forward"),
    "mbart": _counted("mbart/modeling_mbart.py", "MBartDecoder.forward"),
    "mvp": _counted("mvp/modeling_mvp.py", "MvpLearnedPositionalEmbedding.forward"),
    "pegasus": _counted("pegasus/modeling_pegasus.py", "PegasusDecoder.forward"),
    "plbart": _counted("plbart/modeling_plbart.py", "PLBartDecoder.forward"),
    "trocr": _counted("trocr/modeling_trocr.py", "TrOCRLearnedPositionalEmbedding.forward"),
    "whisper": _counted("whisper/modeling_whisper.py", "WhisperDecoder.forward"),
    "roformer": Cause(
        "Positions are counted over the padding. The rotation is relative, so float32 shows nothing; a table "
        "of sines that is rounded to 16 bits is no exact rotation, and the amount of padding shows.",
        "roformer/modeling_roformer.py",
        "RoFormerSinusoidalPositionalEmbedding.forward",
    ),
    "blt": Cause(
        "Bytes are grouped into patches, padding among them, and the global transformer over patches gets no "
        "mask; at a cached step it and the hashes of byte groups see the new byte alone.",
        "blt/modeling_blt.py",
        "BltModel.forward",
    ),
    "cpmant": Cause(
        "`attention_mask` is not used: padding is what has the id 0, so other ids under it are read as text; "
        "and the prompt is read in both directions, so that later tokens change it.",
        "cpmant/modeling_cpmant.py",
        "CpmAntModel._prepare_attention_mask",
    ),
    "deepseek_v4": Cause(
        "Keys are compressed in windows of neighbouring columns, padding among them, without a mask; where a "
        "window begins depends on the amount of padding (transformers skips its own test of left padding for it).",
        "deepseek_v4/modeling_deepseek_v4.py",
        "DeepseekV4HCACompressor.forward",
    ),
    "git": Cause(
        "At a cached step the mask is widened by the places of an image, whether there was one or not: for a "
        "prompt of text alone it is shifted, and padding becomes visible.",
        "git/modeling_git.py",
        "GitModel.forward",
    ),
    "minimax_m3_vl_text": Cause(
        "The index takes blocks of neighbouring columns, padding among them, and compares columns with the row's "
        "own positions (said in a note there; transformers skips its own test of left padding for it).",
        "minimax_m3_vl/modeling_minimax_m3_vl.py",
        "MiniMaxM3VLIndexer.forward",
    ),
    "moshi": Cause(
        "The cache keeps the keys of the last `sliding_window` tokens, the mask of the prompt is a full one: "
        "beyond the window, cached steps see less than one forward pass does.",
        "moshi/modeling_moshi.py",
        "MoshiModel.forward",
    ),
    "prophetnet": Cause(
        "The relative positions of the predicting streams are taken from another position and head (axes are "
        "permuted before they are flattened), which depends on the number of columns; at cached steps the "
        "mask is dropped.",
        "prophetnet/modeling_prophetnet.py",
        "ProphetNetNgramSelfAttention.get_predict_relative_pos_embeddings",
    ),
    "recurrent_gemma": Cause(
        "Recurrent layers take no mask: the convolution runs from the padding into the first tokens.",
        "recurrent_gemma/modeling_recurrent_gemma.py",
        "RecurrentGemmaRecurrentBlock.forward",
    ),
    "reformer": Cause(
        "`generate` drops the attention mask, and axial positions are counted over the padding.",
        "reformer/modeling_reformer.py",
        "ReformerModelWithLMHead.prepare_inputs_for_generation",
    ),
    "rwkv": Cause(
        "`attention_mask` is unused, so the state has read the padding; a cached step broadcasts the states "
        "of all rows over the batch.",
        "rwkv/modeling_rwkv.py",
        "RwkvSelfAttention.extract_key_value",
    ),
    "xlm": Cause(
        "`generate` drops the attention mask, appends a mask token and reads its prediction, which one forward "
        "pass over the text does not have.",
        "xlm/modeling_xlm.py",
        "XLMWithLMHeadModel.prepare_inputs_for_generation",
    ),
    "xlnet": Cause(
        "`generate` drops the attention mask, appends a token and reads its prediction; the text before it is "
        "read in both directions.",
        "xlnet/modeling_xlnet.py",
        "XLNetLMHeadModel.prepare_inputs_for_generation",
    ),
    "xlstm": Cause(
        "No layer takes a mask: the state of the recurrence has read the padding.",
        "xlstm/modeling_xlstm.py",
        "xLSTMModel.forward",
    ),
}
