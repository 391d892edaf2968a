"""Writes a tiny Llama with random weights: tokenizer, chat template, safetensors and GGUF of the same weights.

usage: make_model.py <folder>

590,464 parameters: 2 layers, hidden 128, 2 heads of 64, a byte-level BPE of 1,024 tokens, context 8,192. The weights
come from a fixed seed and the tokenizer from corpus.txt, so every machine gets the same model. Its text is noise, with
broken UTF-8 and tokens that are parts of a character: what a detokeniser must survive.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 20_240_229
VOCABULARY = 1_024
LAYERS = 2
HIDDEN = 128
HEADS = 2
HEAD_DIM = 64  # smaller heads are refused by some engines' attention kernels
INTERMEDIATE = 256
CONTEXT = 8_192
ROPE_THETA = 10_000.0
NORM_EPSILON = 1e-5

BOS, EOS, TURN_START, TURN_END = "<|bos|>", "<|eos|>", "<|turn|>", "<|turn_end|>"
SPECIALS = [BOS, EOS, TURN_START, TURN_END]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|turn|>' + message['role'] + '\n' + (message['content'] or '') + '<|turn_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)


def train_tokenizer(corpus: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    # The pattern of GPT-2, which llama.cpp knows as pre-tokenizer "gpt-2".
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=1,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(corpus)], trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY, "the corpus is too short for the vocabulary"
    return tokenizer


def random_weights() -> dict[str, numpy.ndarray]:
    generator = numpy.random.default_rng(SEED)

    def matrix(rows: int, columns: int, deviation: float) -> numpy.ndarray:
        return (generator.standard_normal((rows, columns)) * deviation).astype(numpy.float32)

    ones = numpy.ones(HIDDEN, numpy.float32)
    scale = HIDDEN**-0.5
    weights = {"model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN, 1.0)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = ones.copy()
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            weights[f"{prefix}self_attn.{name}.weight"] = matrix(HIDDEN, HIDDEN, scale)
        weights[prefix + "post_attention_layernorm.weight"] = ones.copy()
        weights[prefix + "mlp.gate_proj.weight"] = matrix(INTERMEDIATE, HIDDEN, scale)
        weights[prefix + "mlp.up_proj.weight"] = matrix(INTERMEDIATE, HIDDEN, scale)
        weights[prefix + "mlp.down_proj.weight"] = matrix(HIDDEN, INTERMEDIATE, INTERMEDIATE**-0.5)
    weights["model.norm.weight"] = ones.copy()
    # Logits with a spread of about 2: neither flat nor stuck on one token.
    weights["lm_head.weight"] = matrix(VOCABULARY, HIDDEN, 2.0 * scale)
    return weights


def write_hugging_face(folder: Path, tokenizer: Tokenizer, weights: dict[str, numpy.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    ids = {"bos_token_id": tokenizer.token_to_id(BOS), "eos_token_id": tokenizer.token_to_id(EOS)}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPSILON,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
        **ids,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    for name, content in (
        ("config.json", config),
        ("generation_config.json", ids),
        ("tokenizer_config.json", tokenizer_config),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def interleave_rope(weight: numpy.ndarray) -> numpy.ndarray:
    """Safetensors rotate the two halves of a head, llama.cpp's llama rotates neighbours: reorder the rows of q and k."""
    return weight.reshape(HEADS, 2, HEAD_DIM // 2, HIDDEN).swapaxes(1, 2).reshape(HIDDEN, HIDDEN)


def write_gguf(file: Path, tokenizer: Tokenizer, weights: dict[str, numpy.ndarray]) -> None:
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("weir-tiny")
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)

    model = json.loads(tokenizer.to_str())["model"]
    tokens = [text for text, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    kinds = [gguf.TokenType.CONTROL if text in SPECIALS else gguf.TokenType.NORMAL for text in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(tokenizer.token_to_id(BOS))
    writer.add_eos_token_id(tokenizer.token_to_id(EOS))
    writer.add_eot_token_id(tokenizer.token_to_id(TURN_END))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    for name, weight in weights.items():
        rotated = name.endswith(("q_proj.weight", "k_proj.weight"))
        target = names.get_name(name, try_suffixes=(".weight",))
        writer.add_tensor(target, interleave_rope(weight) if rotated else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    folder = Path(sys.argv[1])
    tokenizer = train_tokenizer(Path(__file__).with_name("corpus.txt"))
    weights = random_weights()
    write_hugging_face(folder, tokenizer, weights)
    write_gguf(folder / "weir-tiny.gguf", tokenizer, weights)
    print(sum(weight.size for weight in weights.values()), "parameters in", folder)


main()
