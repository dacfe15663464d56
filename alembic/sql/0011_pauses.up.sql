-- A pause is a setting of the fleet: «paused», «paused.provider.X», «paused.kind.K» or «paused.user.U», with its reason; who and
-- since when say the columns. A claim leaves out what is paused, so a pause holds from its commit on, for every worker.
--
-- held: put aside because its user or kind is paused. It decides nothing: a thousand jobs of a paused user at the head of the
-- line would be read, and left out, by every claim, so they are moved out of its way, to where the index has the held ones.
-- Whoever pauses does so, and maintenance for what comes later. The index of the held finds those whose pause is over.
ALTER TABLE generation_job ADD COLUMN held boolean NOT NULL DEFAULT false;

DROP INDEX generation_job_claim;
CREATE INDEX generation_job_claim ON generation_job (provider, held, priority, position, id) WHERE status = 'pending';
CREATE INDEX generation_job_held ON generation_job (kind, user_id) WHERE status = 'pending' AND held;

INSERT INTO maintenance_task (name) VALUES ('hold');

-- The pauses that keep a job of this kind, provider and user waiting.
CREATE FUNCTION generation_pauses(kind text, provider text, user_id text) RETURNS SETOF fleet_setting LANGUAGE sql STABLE AS $$
  SELECT * FROM fleet_setting
   WHERE name IN ('paused', 'paused.provider.' || provider, 'paused.kind.' || kind, 'paused.user.' || user_id) ORDER BY name
$$;
