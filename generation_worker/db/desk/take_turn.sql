-- Those who enqueue for one user over HTTP take turns, so that none overlooks what another is adding.
SELECT pg_advisory_xact_lock(hashtextextended('generation_worker.enqueue.' || %(user)s, 0))
