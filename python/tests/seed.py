"""A class as people have it over sentence-transformers: test_seed.py replaces its import by reembed's."""

from sentence_transformers import SentenceTransformer


class TaskEmbedder:
    def __init__(self, model_name, **options):
        self.model = SentenceTransformer(model_name, **options)

    def compute_embedding(self, title, description, files):
        return self.model.encode(self._text(title, description, files), convert_to_numpy=True)

    def compute_embeddings_batch(self, tasks, batch_size=32, show_progress=False):
        texts = [self._text(task["title"], task["description"], task["files"]) for task in tasks]
        return self.model.encode(
            texts, batch_size=batch_size, show_progress_bar=show_progress, convert_to_numpy=True
        )

    @staticmethod
    def _text(title, description, files):
        lines = [line for line in (title, description) if line]
        if files:
            lines.append("Files: " + ", ".join(files))
        return "\n".join(lines)
