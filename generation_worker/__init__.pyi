from generation_worker.db.credits import adjust_credits as adjust_credits, grant_credits as grant_credits
from generation_worker.db.enqueue import (
    EnqueuedJob as EnqueuedJob,
    EnqueueRequest as EnqueueRequest,
    cancel as cancel,
    enqueue as enqueue,
    enqueue_many as enqueue_many,
    replay as replay,
)
from generation_worker.domain.errors import InvalidPayload as InvalidPayload
from generation_worker.domain.refusals import (
    EnqueueRefused as EnqueueRefused,
    IdempotencyConflict as IdempotencyConflict,
    InputGone as InputGone,
    InsufficientCredits as InsufficientCredits,
    InvalidRequest as InvalidRequest,
    JobNotFound as JobNotFound,
    JobNotReplayable as JobNotReplayable,
)

__version__: str
