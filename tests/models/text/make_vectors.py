"""Makes `vectors/*.json`: how the reference tokenizers cut texts, and the ids they give.

Run by hand, from the root of the repository, with `tokenizers` and `sentencepiece` installed:

    python -m venv somewhere && somewhere/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3
    somewhere/bin/python tests/models/text/make_vectors.py

It knows nothing of Wick. Each reference is the `normalizer` and `pre_tokenizer` that the model's
own `tokenizer.json` has, over a small vocabulary trained here on the same texts; SmolLM2's is the
part of its own vocabulary that these texts can touch, from `.cache/models/smollm2-135m`. With the
whole vocabularies that llama.cpp keeps for its tests (`models/ggml-vocab-*.gguf`, with the ids of
transformers in `.inp` and `.out`) Wick was compared by `compare_vocabularies.py`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, trainers
from tokenizers.pre_tokenizers import ByteLevel

FOLDER = Path(__file__).parent / "vectors"
SMOLLM2 = Path(".cache/models/smollm2-135m/tokenizer.json")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 620
TEXTS = [
    "",
    " ",
    "  ",
    "   \t  ",
    "\n",
    "\n\n\n",
    " \n \n",
    "\r\n\r\n",
    "\t\tindented\n\t\t\ttwice\n",
    "Hello, world!",
    " Hello,  world !  ",
    "I've you're HE'LL they'D it's don't 'tis 'Re 's",
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox goes on and on.",
    "naïve café, Größe, Ærø, œuvre, Łódź, İstanbul, ǅ ﬁn, Ünïcödé ÀÉÎÕÜ straße",
    "e\u0301 vs é, a\u0308 vs ä, n\u0303 vs ñ, Å vs Å, q\u0323\u0307 \u1100\u1161\u11a8",
    "Z\u0351\u036b\u0343a\u0320\u0348l\u0325g\u031bo\u0322",
    "你好，世界！今天天气很好。１２３４ ㄅㄆㄇ 𠮷野家",
    "日本語のテキスト、カタカナとひらがな。長音ー々〆",
    "한국어 문장입니다. 띄어쓰기도 있어요!",
    "مرحبا بالعالم، كيف حالك؟ ١٢٣٤٥ ـــ ﷽ لَا",
    "שלום עולם! מַה שְּׁלוֹמְךָ? \u200fRTL\u200e",
    "नमस्ते दुनिया। क्षत्रिय १२३४ ज्ञान",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง ๑๒๓๔",
    "Привет, мир! Ёжик съел 12 яблок. Їжак",
    "Γειά σου Κόσμε, ᾳ ΐ Ω",
    "ქართული ᏣᎳᎩ Ꭰꭰ 𐐀𐐨 ʀ ɐ",
    "বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം ខ្មែរ မြန်မာ አማርኛ",
    "👩🏽‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏿👍 🇩🇪🇯🇵 ✅ 😀😃😄 1️⃣ ❤️",
    "1 12 123 1234 12345 123456 1234567890 3.14159 1,234,567.89 0x1F 1e-9 ½ Ⅻ ² ٣",
    "v2.0.1-beta 2024-07-26 12:34:56 +49 (0)30 €9,99 $5 £3 100% #1",
    'def f(x: int) -> str:\n    if x >= 10:\n\t\treturn f"{x!r}\\n"  # note\n    else:\n',
    "for (int i=0; i<n; ++i) { a[i] += b[i]&0xff; } /* c */ // d\r\n",
    '<div class="a b">&nbsp;<br/></div>\n\n\n    ```python\n    x = 1\n    ```',
    "SELECT * FROM t WHERE a='b''c' -- ?\n\\begin{x}\\alpha^2_{i}\\end{x}",
    "camelCaseWord snake_case_word SCREAMING_CASE kebab-case XMLHttpRequest iPhone15Pro",
    "http://example.com/a/b?c=d&e=f#g user@example.org C:\\dir\\file.txt ~/x",
    "\x00\x01\x02 \x07\x08\x0b\x0c \x1b[31mred\x1b[0m \x7f \x85\xa0\xad",
    "a\u00a0b\u2003c\u3000d\u200be\u200df\ufeffg\u2028h\u2029i\u202ej",
    "tab\tspace nbsp\u00a0 ideographic\u3000 trailing   ",
    "     five before, and in     between",
    "!!! ??? ... --- *** === ~~~ «» “” ‘’ „“ … – — • ¡¿ §¶ ，。！？",
    "...\n!!!\n\n??? \n\n ,;\n/path/\n",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>",
    "x<|im_end|> <|im_end|>x < |im_end|> <|im_end |>",
    "\ufffd\ufffe \U0010ffff \ue000 \U000e0001",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbb cccc",
    "unbroken-Zusammengesetztes-Donaudampfschifffahrtsgesellschaftskapitänswort",
]
CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-"
    "ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-"
    "ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


DIGITS = {"type": "Digits", "individual_digits": True}
NFC = {"type": "NFC"}
GPT2 = byte_level(use_regex=True)
DIGITS_GPT2 = sequence(DIGITS, byte_level(use_regex=True))
# name in GGUF: (whose tokenizer.json, normalizer, pre_tokenizer, ignore_merges)
REFERENCES: dict[str, tuple[str, Any, Any, bool]] = {
    "gpt-2": ("openai-community/gpt2", None, GPT2, False),
    "mpt": ("mosaicml/mpt-7b", NFC, GPT2, False),
    "smollm": ("HuggingFaceTB/SmolLM2-135M-Instruct", None, DIGITS_GPT2, False),
    "starcoder": ("bigcode/starcoder2-3b", None, DIGITS_GPT2, False),
    "command-r": ("CohereForAI/c4ai-command-r-v01", NFC, DIGITS_GPT2, False),
    "llama-bpe": (
        "meta-llama/Meta-Llama-3-8B",
        None,
        sequence(split(LLAMA3), byte_level(use_regex=False)),
        True,
    ),
    "qwen2": ("Qwen/Qwen2-7B", NFC, sequence(split(QWEN2), byte_level(use_regex=False)), False),
    "tekken": (
        "mistralai/Mistral-Nemo-Base-2407",
        None,
        sequence(split(TEKKEN), byte_level(use_regex=False)),
        True,
    ),
    "falcon": (
        "tiiuae/falcon-7b",
        None,
        sequence(
            {"type": "Punctuation", "behavior": "Contiguous"},
            byte_level(use_regex=True),
            {"type": "Digits", "individual_digits": False},
            split("[0-9][0-9][0-9]"),
        ),
        False,
    ),
    "deepseek-llm": (
        "deepseek-ai/deepseek-llm-7b-base",
        None,
        sequence(
            split("[\r\n]"),
            split(rf"\s?[{CASED_LETTERS}]+"),
            split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            split(r"\s+$"),
            split("[一-龥ࠀ-一가-퟿]+"),
            DIGITS,
            byte_level(use_regex=False),
        ),
        False,
    ),
    "deepseek-coder": (
        "deepseek-ai/deepseek-coder-6.7b-base",
        None,
        sequence(
            split("[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            split("[一-龥ࠀ-一가-퟿]+"),
            DIGITS,
            byte_level(use_regex=False),
        ),
        False,
    ),
}


def reference(normalizer: Any, pre_tokenizer: Any, model: dict[str, Any]) -> Tokenizer:
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False} | model,
    }
    return Tokenizer.from_str(json.dumps(whole))


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def trained(normalizer: Any, pre_tokenizer: Any) -> tuple[list[str], list[list[str]]]:
    tokenizer = reference(normalizer, pre_tokenizer, {"vocab": {}, "merges": []})
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=lambda token: model["vocab"][token])
    # Words that no merge leads to, as Llama 3 has them: only `ignore_merges` finds them.
    extra = [
        ByteLevel(False, use_regex=False).pre_tokenize_str(w)[0][0] for w in (" Ёжик", " sleeps")
    ]
    return tokens + [word for word in extra if word not in tokens], model["merges"]


def own(pre_tokenizer: Any) -> tuple[list[str], list[list[str]]]:
    """The part of SmolLM2's vocabulary that the texts can touch, in its order."""
    model = json.loads(SMOLLM2.read_text(encoding="utf-8"))["model"]
    cutter = reference(None, pre_tokenizer, {"vocab": {}, "merges": []})
    seen = {word for text in TEXTS for word in words(cutter, text)}
    parts = {
        word[start:end]
        for word in seen
        for start in range(len(word))
        for end in range(start + 1, len(word) + 1)
    }
    alphabet = set(ByteLevel.alphabet())
    ordered = sorted(model["vocab"], key=lambda token: model["vocab"][token])
    tokens = [token for token in ordered if token in parts or token in alphabet]
    kept = set(tokens)
    merges = [
        list(pair) for pair in model["merges"] if {pair[0], pair[1], pair[0] + pair[1]} <= kept
    ]
    return tokens, merges


def byte_level_vectors(name: str) -> dict[str, Any]:
    origin, normalizer, pre_tokenizer, ignore = REFERENCES[name]
    tokens, merges = own(pre_tokenizer) if name == "smollm" else trained(normalizer, pre_tokenizer)
    tokens = [*SPECIALS, *tokens]
    vocab = {token: index for index, token in enumerate(tokens) if token not in SPECIALS}
    plain = reference(
        normalizer, pre_tokenizer, {"vocab": vocab, "merges": merges, "ignore_merges": ignore}
    )
    marking = reference(
        normalizer,
        pre_tokenizer,
        {
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": merges,
            "ignore_merges": ignore,
        },
    )
    marking.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIALS])
    cases = [
        {
            "words": words(plain, text),
            "ids": plain.encode(text).ids,
            "marked": marking.encode(text, add_special_tokens=False).ids,
        }
        for text in TEXTS
    ]
    return {
        "origin": origin,
        "tokens": tokens,
        "merges": [" ".join(pair) for pair in merges],
        "cases": cases,
    }


def sentencepiece_vectors(*, prefix: bool) -> dict[str, Any]:
    """A model trained as Llama 2's was: BPE with byte fallback, nothing normalised."""
    import sentencepiece  # type: ignore[import-not-found,unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        stem = f"{folder}/model"
        sentencepiece.SentencePieceTrainer.train(
            # What it has not seen falls back to bytes: Thai, Devanagari, emoji and more.
            sentence_iterator=iter([t for t in TEXTS[:24] + TEXTS[28:36] if t.strip()] * 3),
            model_prefix=stem,
            model_type="bpe",
            vocab_size=900,
            character_coverage=0.98,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=prefix,
            allow_whitespace_only_pieces=True,
            user_defined_symbols=["-beta", "\t\t", "世界"],
            minloglevel=2,
        )
        model = sentencepiece.SentencePieceProcessor(model_file=f"{stem}.model")
    count = model.get_piece_size()

    def kind(index: int) -> int:
        if model.is_unknown(index):
            return 2
        if model.is_control(index):
            return 3
        if model.is_byte(index):
            return 6
        return 4 if model.id_to_piece(index) in ("-beta", "\t\t", "世界") else 1

    return {
        "origin": "sentencepiece itself, trained as Llama 2's model was",
        "prefix": prefix,
        "tokens": [model.id_to_piece(index) for index in range(count)],
        "scores": [model.get_score(index) for index in range(count)],
        "types": [kind(index) for index in range(count)],
        "cases": [{"ids": model.encode(text)} for text in TEXTS],
    }


def write(name: str, values: dict[str, Any]) -> None:
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    write("texts", {"texts": TEXTS, "specials": SPECIALS})
    for name in REFERENCES:
        write(name, byte_level_vectors(name))
    write("sentencepiece", sentencepiece_vectors(prefix=True))
    write("sentencepiece-no-prefix", sentencepiece_vectors(prefix=False))


if __name__ == "__main__":
    main()
