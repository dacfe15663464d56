from generation_worker.db.credits import adjust_credits as adjust_credits
from generation_worker.db.credits import grant_credits as grant_credits
from generation_worker.db.enqueue import EnqueuedJob as EnqueuedJob
from generation_worker.db.enqueue import EnqueueRequest as EnqueueRequest
from generation_worker.db.enqueue import cancel as cancel
from generation_worker.db.enqueue import enqueue as enqueue
from generation_worker.db.enqueue import enqueue_many as enqueue_many
from generation_worker.db.enqueue import replay as replay
from generation_worker.domain.errors import InvalidPayload as InvalidPayload
from generation_worker.domain.refusals import EnqueueRefused as EnqueueRefused
from generation_worker.domain.refusals import IdempotencyConflict as IdempotencyConflict
from generation_worker.domain.refusals import InputGone as InputGone
from generation_worker.domain.refusals import InsufficientCredits as InsufficientCredits
from generation_worker.domain.refusals import InvalidRequest as InvalidRequest
from generation_worker.domain.refusals import JobNotFound as JobNotFound
from generation_worker.domain.refusals import JobNotReplayable as JobNotReplayable

__version__: str
