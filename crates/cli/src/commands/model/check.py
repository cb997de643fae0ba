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
    # One at a time: beside a long text, short ones would be padded to its length. The prompt is the model's default.
    found = model.encode(json.load(file), batch_size=1, convert_to_numpy=True, show_progress_bar=False)
found.astype("<f4").tofile(vectors)
