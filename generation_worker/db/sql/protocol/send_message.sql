-- Tells every worker that listens. NOTIFY takes a lock on the whole instance at commit, which nobody feels at the few
-- messages per second that webhooks bring; and it needs no session, so it goes through a pooler as well.
SELECT pg_notify('generation.signals', %(message)s)
