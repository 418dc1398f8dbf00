"""How a chunk of requests becomes answers: checked, perhaps struck by faults, and answered by the engine."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from connector.local.answer import answered_line, completion, problem_line
from connector.local.chat import Body, check_body, sha256_of, text_of
from connector.local.engine import Engine, Reply
from connector.local.faults import EXTRA_FAULTS, ITEM_FAULTS, ROW_FAULTS, Fault, Faults
from connector.local.outcome import Answer
from connector.local.packed import Pack, join_replies, unpack
from connector.local.problem import Problem
from connector.local.row_fault import refusal_of, spoil_completion, spoil_reply, unanswered_line
from connector.local.store import Document, Store
from connector.local.usage import PromptCache, count_usage, limit_tokens
from connector.local.validation import Request

Hit = tuple[str, str]
Hits = Callable[[str, str], int]


@dataclass(frozen=True)
class _Job:
    """Hold a checked request: what it asks, and the faults that take it, its items by their place.

    A packed one `is_split` for engines that answer one text at a time.
    """

    request: Request
    content_sha256: str
    pack: Pack | None = None
    is_split: bool = False
    fault: Fault | None = None
    extras: Mapping[str, Fault] = field(default_factory=dict)
    item_faults: Mapping[int, Fault] = field(default_factory=dict)

    @property
    def bodies(self) -> list[Body]:
        """List what the engine is asked."""
        return self.pack.bodies() if self.pack is not None and self.is_split else [self.request.body]

    @property
    def texts(self) -> list[str]:
        """List the digests of the texts that are answered."""
        if self.pack is None:
            return [self.content_sha256]
        left_out = {place for place, fault in self.item_faults.items() if fault.name == "item_missing"}
        return [sha256_of(item.text) for place, item in enumerate(self.pack.items) if place not in left_out]

    @property
    def hits(self) -> list[Hit]:
        """Name what to count where faults strike a text only so many times."""
        whole = [*([self.fault] if self.fault else []), *self.extras.values()]
        items = self.pack.items if self.pack is not None else ()
        struck = [(fault.name, sha256_of(items[place].text)) for place, fault in self.item_faults.items()]
        return [*((fault.name, self.content_sha256) for fault in whole), *struck]


class Executor:
    """Answer requests, of batches in chunks and of the chat endpoint one by one."""

    def __init__(self, store: Store, engine: Engine, faults: Faults, known_models: frozenset[str]) -> None:
        self._store = store
        self._engine = engine
        self._faults = faults
        self._known_models = known_models
        self._cache = PromptCache()

    def run(self, pending: Iterator[Request], most: int) -> tuple[list[Answer], int]:
        """Answer the next requests, a chunk of texts or `most` requests; the answers are not stored yet.

        Return them and how many requests were taken: more than are answered, where the engine defers some. An answer
        counts as executed where the engine ran for it. A kill before the chunk is stored loses its answers and their
        records together, so those requests are run again and are recorded once.
        """
        answers: list[Answer] = []
        jobs: list[_Job] = []
        struck: Counter[Hit] = Counter()
        taken = texts = 0
        for request in itertools.islice(pending, most):
            prepared = self._prepare(request, lambda name, sha: self._store.fault_hits(name, sha) + struck[name, sha])
            if isinstance(prepared, _Job):
                jobs.append(prepared)
                texts += len(prepared.bodies)
            else:
                answers.append(prepared)
                texts += 1
            struck.update(prepared.hits)
            taken += 1
            if texts >= self._engine.chunk_size:
                break
        answers += [self._answer(job, reply) for job, reply in self._ask(jobs) if not reply.is_deferred]
        return answers, taken

    def chat(self, account: str, body: Body) -> Document:
        """Answer one synchronous request; faults of rows do not strike here."""
        check_body(body, self._known_models)
        pack = unpack(body)
        job = _Job(Request(0, "", dict(body)), sha256_of(text_of(body)), pack, self._splits(pack))
        ((_, reply),) = self._ask([job])
        if reply.problem is not None:
            raise reply.problem
        self._store.record_execution(account, job.texts, body["model"])
        return self._complete(job, limit_tokens(body, reply))

    def _prepare(self, request: Request, hits: Hits) -> _Job | Answer:
        """Decide which faults take a request, or give its answer where the engine is not asked."""
        try:
            check_body(request.body, self._known_models)
        except Problem as problem:
            return _refused(request, problem)
        digest = sha256_of(text_of(request.body))
        fault = next(self._faults.taking(ROW_FAULTS, request.custom_id, digest, hits), None)
        job = _Job(request, digest, fault=fault)
        unrun = _unrun(job)
        if unrun is not None:
            return unrun
        extras = {extra.name: extra for extra in self._faults.taking(EXTRA_FAULTS, request.custom_id, digest, hits)}
        pack = unpack(request.body)
        is_split = self._splits(pack)
        item_faults = self._choose_items(request, pack, hits) if pack is not None and is_split else {}
        return dataclasses.replace(job, pack=pack, is_split=is_split, extras=extras, item_faults=item_faults)

    def _splits(self, pack: Pack | None) -> bool:
        return pack is not None and not self._engine.forwards

    def _choose_items(self, request: Request, pack: Pack, hits: Hits) -> dict[int, Fault]:
        chosen = {}
        for place, item in enumerate(pack.items):
            subject_id = f"{request.custom_id}/{item.id}"
            fault = next(self._faults.taking(ITEM_FAULTS, subject_id, sha256_of(item.text), hits), None)
            if fault is not None:
                chosen[place] = fault
        return chosen

    def _ask(self, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, Reply]]:
        """Let the engine answer all texts of all jobs together."""
        bodies = [body for job in jobs for body in job.bodies]
        replies = iter(self._engine.answer(bodies) if bodies else ())
        for job in jobs:
            if job.pack is None or not job.is_split:
                yield job, next(replies)
            else:
                own = list(itertools.islice(replies, len(job.pack.items)))
                yield job, join_replies(job.pack, own, job.item_faults, seed=job.content_sha256)

    def _answer(self, job: _Job, reply: Reply) -> Answer:
        request = job.request
        if reply.problem is not None:
            return _refused(request, reply.problem, job.hits)
        if "reasoning" in job.extras:
            reply = dataclasses.replace(reply, reasoning_tokens=job.extras["reasoning"].tokens)
        reply = limit_tokens(request.body, reply)
        if job.fault is not None:
            reply = spoil_reply(job.fault, request.body, reply)
        document = self._complete(job, reply)
        usage = document["usage"]
        if job.fault is not None or job.extras:
            document = spoil_completion(job.fault, job.extras, request.custom_id, document)
        return Answer(
            request.number,
            request.custom_id,
            answered_line(request.custom_id, 200, document),
            is_error=False,
            copies=2 if job.fault is not None and job.fault.name == "row_twice" else 1,
            executed=job.texts,
            model=request.body["model"],
            usage=usage,
            hits=job.hits,
        )

    def _complete(self, job: _Job, reply: Reply) -> Document:
        body = job.request.body
        usage = count_usage(body, reply, self._cache)
        return completion(body, reply, usage, self._engine.name, self._store.now())


def _unrun(job: _Job) -> Answer | None:
    """Give the answer of a request that a fault keeps from the engine."""
    if job.fault is None:
        return None
    problem = refusal_of(job.fault, job.request.body)
    if problem is not None:
        return _refused(job.request, problem, job.hits)
    line = unanswered_line(job.fault, job.request.custom_id)
    if line is None:
        return None
    copies = 1 if line else 0
    return Answer(job.request.number, job.request.custom_id, line, is_error=False, copies=copies, hits=job.hits)


def _refused(request: Request, problem: Problem, hits: Sequence[Hit] = ()) -> Answer:
    line = problem_line(request.custom_id, problem)
    return Answer(request.number, request.custom_id, line, is_error=True, hits=hits)
