"""Passages as vectors of an embedding model in the store: made while nothing else runs, compared
with a question's. Without such a model there are none, and passages are found by words alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from app.db import passages
from app.db.connection import Database
from app.db.passages import PassageVector, Scope
from app.errors import WickError
from app.inference.model_state import ModelState
from app.inference.protocol import Failed, Finished, Generate
from app.inference.queue import Interrupted, Request, RequestEvent
from app.inference.worker_pool import WorkerPool
from app.models.model import Model
from app.models.store import ModelStore
from app.models.text.embedding_prefixes import prefixes_of

log = logging.getLogger(__name__)
BATCH_PASSAGES: Final = 8
"""Passages that are embedded between two looks at whether anybody waits."""
BATCH_SECONDS: Final = 120.0
CHECK_SECONDS: Final = 30.0
BUSY_SECONDS, LOADING_SECONDS = 1.0, 0.2
QUESTION_SECONDS: Final = 2.0
"""Seconds that a question waits for its vector; after that it is searched for by words alone."""
MAX_FAILURES: Final = 3
MAX_VECTORS: Final = 50_000
"""Passages that are compared with one question."""
RANK_CONSTANT: Final = 60
OUTSTANDING: Final = 3.0
"""Standard deviations above the mean, from which a passage fits that has no word of a question."""
MIN_COMPARED: Final = 8
_NUMBERS: Final = itertools.count(1 << 41)
"""Ids that nothing else has."""
_Vector = tuple[float, ...] | None


class PassageVectors:
    """Makes vectors of the passages of one database, and ranks them by a question."""

    def __init__(self, db: Database, store: ModelStore, pool: WorkerPool) -> None:
        self._db = db
        self._store = store
        self._pool = pool
        self._news = asyncio.Event()
        self._failures: defaultdict[str, int] = defaultdict(int)

    def wake(self) -> None:
        """Look at once for passages that have no vector."""
        self._news.set()

    async def rank(self, scope: Scope, query: str, limit: int, *, is_alone: bool) -> list[int]:
        """Return the ids of the passages that are nearest to a question, the nearest first; none
        where that would have to be waited for. is_alone: no passage has its words, so only those
        that stand out count."""
        model = await self._model() if scope and query.strip() else None
        if model is None:
            return []
        prefixes = prefixes_of(model)
        key = prefixes.key(model.digest)
        held = await passages.vectors_of(self._db, scope, key, MAX_VECTORS)
        if not held or not self._is_ready(model):
            if held and self._fits(model):
                with contextlib.suppress(WickError):  # for the next question
                    self._pool.load(model.name)
            return []
        user_id = next(iter(scope))
        asked = [(user_id, prefixes.question + query)]
        made = await self._embed(model, asked, QUESTION_SECONDS)
        if made is None:
            return []
        return await asyncio.to_thread(_nearest, made[0], held, limit, is_alone=is_alone)

    async def run(self) -> None:
        """Make the vectors that are missing, a few at a time, until cancelled."""
        while True:
            self._news.clear()
            try:
                while await self._make_some():
                    pass
            except WickError as error:
                log.warning("Passages have no vectors yet: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._news.wait()

    async def _make_some(self) -> bool:
        """Return whether there may be more to do at once."""
        model = await self._model()
        if model is None or self._failures[model.digest] >= MAX_FAILURES:
            return False
        prefixes = prefixes_of(model)
        key = prefixes.key(model.digest)
        missing = await passages.without_vector(self._db, key, BATCH_PASSAGES)
        if not missing:
            return False
        if self._pool.is_busy:
            await asyncio.sleep(BUSY_SECONDS)
            return True
        if not self._is_ready(model):
            return await self._load(model)
        texts = [(one.user_id, prefixes.passage + one.text) for one in missing]
        made = await self._embed(model, texts, BATCH_SECONDS)
        if made is None:
            self._failures[model.digest] += not self._pool.is_busy
            return False
        packed = await asyncio.to_thread(_packed, made)
        some = [
            PassageVector(one.passage_id, one.user_id, vector)
            for one, vector in zip(missing, packed, strict=True)
        ]
        await self._db.write(lambda c: passages.add_vectors(c, key, some))
        return True

    async def _load(self, model: Model) -> bool:
        """Begin to load a model where there is memory. Return whether it will be there soon."""
        status = self._pool.status(model.name)
        if status is not None and status.error:
            self._failures[model.digest] = MAX_FAILURES
            return False
        if not self._fits(model):
            return False
        self._pool.load(model.name)
        await asyncio.sleep(LOADING_SECONDS)
        return True

    async def _model(self) -> Model | None:
        """Find the embedding model of this machine, the first by its name."""
        models = await asyncio.to_thread(self._store.models)
        found = (one for one in models if one.kind == "embedding" and one.remote is None)
        return next(found, None)

    def _is_ready(self, model: Model) -> bool:
        status = self._pool.status(model.name)
        return status is not None and status.state == ModelState.READY

    def _fits(self, model: Model) -> bool:
        """Tell whether it can be loaded beside all that is: no model of a chat is to leave."""
        return 2 * model.loaded_size < self._pool.free_memory

    async def _embed(
        self,
        model: Model,
        texts: Sequence[tuple[int, str]],
        seconds: float,
    ) -> list[tuple[float, ...]] | None:
        """Embed texts, each of a user, as work in the background, which counts for no limit; None
        where that fails or takes too long."""
        loop = asyncio.get_running_loop()
        ends = [loop.create_future() for _ in texts]
        requests = [
            Request(
                Generate(next(_NUMBERS), (), text=text, wants_embedding=True),
                user_id,
                partial(_end, end),
                is_background=True,
            )
            for (user_id, text), end in zip(texts, ends, strict=True)
        ]
        try:
            worker = self._pool.worker(model.name)
            for request in requests:
                worker.submit(request)
            async with asyncio.timeout(seconds):
                made = [await end for end in ends]
        except (TimeoutError, WickError) as error:
            log.info("%s made no vectors: %s", model.name, error or "it took too long")
            return None
        finally:
            for request in requests:
                self._pool.cancel(model.name, request.command.id)
        return None if None in made else made


def _end(end: asyncio.Future[_Vector], event: RequestEvent) -> None:
    if end.done():
        return
    if isinstance(event, Finished):
        end.set_result(event.embedding or None)
    elif isinstance(event, Failed | Interrupted):
        end.set_result(None)


def fuse(rankings: Iterable[Sequence[int]], limit: int) -> list[int]:
    """Make one ranking of several by reciprocal ranks."""
    scores = defaultdict[int, float](float)
    for ranked in rankings:
        for place, one in enumerate(ranked, 1):
            scores[one] += 1 / (RANK_CONSTANT + place)
    return sorted(scores, key=lambda one: (-scores[one], one))[:limit]


def _packed(vectors: Sequence[Sequence[float]]) -> list[bytes]:
    import numpy as np  # here and not above: a server without such a model needs none of it

    made = np.array(vectors, np.float32)
    made /= np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
    return [row.astype("<f2").tobytes() for row in made]


def _nearest(
    question: Sequence[float], held: Sequence[tuple[int, bytes]], limit: int, *, is_alone: bool
) -> list[int]:
    import numpy as np  # here and not above, too

    size = 2 * len(question)
    kept = [(one, vector) for one, vector in held if len(vector) == size]
    if not kept:
        return []
    matrix = np.frombuffer(b"".join(vector for _, vector in kept), "<f2")
    scores = matrix.reshape(len(kept), -1).astype(np.float32) @ np.array(question, np.float32)
    order = np.argsort(-scores, kind="stable")[:limit]
    least = -np.inf
    if is_alone:
        if len(kept) < MIN_COMPARED:
            return []
        least = float(scores.mean() + OUTSTANDING * scores.std())
    return [kept[place][0] for place in order.tolist() if scores[place] > least]
