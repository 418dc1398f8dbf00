"""How a chunk of requests becomes answers: checked, perhaps struck by a fault, and answered by the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from connector.local.answer import answered_line, completion, limit_tokens, problem_line
from connector.local.chat import Body, check_body, sha256_of, text_of
from connector.local.engine import Engine, Reply
from connector.local.faults import Fault, Faults
from connector.local.problem import Problem
from connector.local.row_fault import refusal_of, spoil_completion, spoil_reply, unanswered_line
from connector.local.store import Answer, Document, Store
from connector.local.validation import Request


@dataclass(frozen=True)
class _Job:
    """Hold a request that the engine has to answer."""

    request: Request
    content_sha256: str
    fault: Fault | None

    @property
    def hit(self) -> tuple[str, str] | None:
        """Name what to count where the fault strikes a text only so many times."""
        return None if self.fault is None else (self.fault.name, self.content_sha256)


class Executor:
    """Answer requests, of batches in chunks and of the chat endpoint one by one."""

    def __init__(self, store: Store, engine: Engine, faults: Faults, known_models: frozenset[str]) -> None:
        self._store = store
        self._engine = engine
        self._faults = faults
        self._known_models = known_models
        self.chunk_size = engine.chunk_size

    def run(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer a chunk; the answers are not stored yet.

        An answer counts as executed where the engine ran for it. A kill before the chunk is stored loses its answers
        and their records together, so those requests are run again and are recorded once.
        """
        answers: list[Answer] = []
        jobs: list[_Job] = []
        struck: Counter[tuple[str, str]] = Counter()
        for request in requests:
            try:
                check_body(request.body, self._known_models)
            except Problem as problem:
                answers.append(_refused(request, problem))
                continue
            digest = sha256_of(text_of(request.body))
            fault = self._faults.row(
                request.custom_id, digest, lambda name, sha: self._store.fault_hits(name, sha) + struck[name, sha]
            )
            job = _Job(request, digest, fault)
            struck.update([job.hit] if job.hit else [])
            unrun = self._unrun(job)
            if unrun is None:
                jobs.append(job)
            else:
                answers.append(unrun)
        replies = self._engine.answer([job.request.body for job in jobs]) if jobs else []
        answers.extend(self._answer(job, reply) for job, reply in zip(jobs, replies, strict=True))
        return answers

    def chat(self, account: str, body: Body) -> Document:
        """Answer one synchronous request; faults of rows do not strike here."""
        check_body(body, self._known_models)
        (reply,) = self._engine.answer([body])
        if reply.problem is not None:
            raise reply.problem
        self._store.record_execution(account, sha256_of(text_of(body)), body["model"])
        return completion(body, limit_tokens(body, reply), self._engine.name, self._store.now())

    def _unrun(self, job: _Job) -> Answer | None:
        """Give the answer of a request that a fault keeps from the engine."""
        if job.fault is None:
            return None
        problem = refusal_of(job.fault, job.request.body)
        if problem is not None:
            return _refused(job.request, problem, job.hit)
        line = unanswered_line(job.fault, job.request.custom_id)
        if line is None:
            return None
        return Answer(
            job.request.number, job.request.custom_id, line, is_error=False, copies=1 if line else 0, hit=job.hit
        )

    def _answer(self, job: _Job, reply: Reply) -> Answer:
        request = job.request
        if reply.problem is not None:
            return _refused(request, reply.problem, job.hit)
        reply = limit_tokens(request.body, reply)
        if job.fault is not None:
            reply = spoil_reply(job.fault, request.body, reply)
        document = completion(request.body, reply, self._engine.name, self._store.now())
        usage = document["usage"]
        if job.fault is not None:
            document = spoil_completion(job.fault, request.custom_id, document)
        return Answer(
            request.number,
            request.custom_id,
            answered_line(request.custom_id, 200, document),
            is_error=False,
            copies=2 if job.fault is not None and job.fault.name == "row_twice" else 1,
            executed=(job.content_sha256, request.body["model"]),
            input_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            hit=job.hit,
        )


def _refused(request: Request, problem: Problem, hit: tuple[str, str] | None = None) -> Answer:
    return Answer(request.number, request.custom_id, problem_line(request.custom_id, problem), is_error=True, hit=hit)
