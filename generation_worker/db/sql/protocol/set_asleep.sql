-- Says whether the worker sleeps between polls, so that enqueue knows whether a NOTIFY is worth its price.
UPDATE generation.worker_process SET asleep = %(asleep)s, seen_at = clock_timestamp() WHERE id = %(worker)s
