"""Embeds the texts of a JSON file with sentence-transformers in f32: `check.py DIRECTORY TEXTS VECTORS`."""

import json
import sys

try:
    from sentence_transformers import SentenceTransformer
except ImportError:
    sys.exit("sentence-transformers is not installed for this Python: pip install sentence-transformers")

directory, texts, vectors = sys.argv[1:]
model = SentenceTransformer(directory, device="cpu").float()
with open(texts, encoding="utf-8") as file:
    found = model.encode(json.load(file), convert_to_numpy=True, show_progress_bar=False)
found.astype("<f4").tofile(vectors)
