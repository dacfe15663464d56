-- What the calls of the last hour came to is asked while jobs run. A call's row is updated in place as before: its start was
-- indexed already.
CREATE INDEX provider_call_started ON provider_call (started_at);
