"""A lossless tokenizer: whole words where it knows them, bytes elsewhere, so a character may span several tokens."""

import re

PAD, BOS, END = 0, 1, 2
SPECIALS = 3
BYTES = 256

WORDS = (
    "able above acid across after again air along amber answer apple april arrow autumn avenue badge basket beacon bell "
    "between birch blue board bottle branch bread breeze bridge bright brook brown bundle butter cabin candle canyon card "
    "carpet castle cedar chain chalk cherry circle city clay clear cliff clock cloud coast cold copper coral corner cotton "
    "count cradle crane creek crown crystal current curtain dance dark dawn deep delta desert diamond door down draft dream "
    "drift drum dust eagle early earth east echo edge eight elbow elm ember empty engine even evening every falcon family "
    "farm feather fern field finger fire five flag flame flint floor flower fog forest fork four fox frame fresh frost "
    "garden gate gentle glass glow gold grain grape grass gravel green grey grove hammer harbor harvest hazel heart heron "
    "hill hollow honey horizon horse house ice island ivory ivy jade january jar jewel journey juniper kettle key kilo king"
).split()

IDS = {word: SPECIALS + BYTES + index for index, word in enumerate(WORDS)}
VOCABULARY = SPECIALS + BYTES + len(WORDS)
LONGEST_FIRST = re.compile("|".join(sorted(WORDS, key=len, reverse=True)).encode())


def encode(text: str) -> list[int]:
    ids: list[int] = []
    raw = text.encode()
    position = 0
    for match in LONGEST_FIRST.finditer(raw):
        ids.extend(SPECIALS + byte for byte in raw[position : match.start()])
        ids.append(IDS[match.group().decode()])
        position = match.end()
    ids.extend(SPECIALS + byte for byte in raw[position:])
    return ids


def to_bytes(ids: list[int]) -> bytes:
    """Special tokens have no text; ids beyond the vocabulary neither."""
    parts = []
    for token in ids:
        if SPECIALS <= token < SPECIALS + BYTES:
            parts.append(bytes([token - SPECIALS]))
        elif SPECIALS + BYTES <= token < VOCABULARY:
            parts.append(WORDS[token - SPECIALS - BYTES].encode())
    return b"".join(parts)


def decode(ids: list[int]) -> str:
    """Broken characters become U+FFFD, as when a real server decodes each step by itself."""
    return to_bytes(ids).decode(errors="replace")
