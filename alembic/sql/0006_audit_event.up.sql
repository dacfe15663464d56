-- Every change by a person or a key: who, what, why, and from what to what. It is written in the transaction of the change, and
-- has neither secrets nor prompts. Rows are never changed and never pruned.
CREATE TABLE audit_event (
  id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor  text        NOT NULL,
  action text        NOT NULL,
  target text        NOT NULL,
  reason text,
  before jsonb,
  after  jsonb,
  CONSTRAINT actor_is_named CHECK (length(actor) BETWEEN 1 AND 255),
  CONSTRAINT action_is_bounded CHECK (length(action) BETWEEN 1 AND 100),
  CONSTRAINT target_is_bounded CHECK (length(target) BETWEEN 1 AND 300),
  CONSTRAINT reason_is_bounded CHECK (length(reason) <= 2000)
);
CREATE INDEX audit_event_target ON audit_event (target, id);
CREATE INDEX audit_event_actor ON audit_event (actor, id);

CREATE FUNCTION refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: it cannot be changed by %', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'GW003', HINT = 'What was done wrong is done again, and recorded again.';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_event
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_history();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON audit_event
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();
