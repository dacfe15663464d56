-- What a task has found stands here for whoever asks before its next run: metrics must not check the books at each scrape.
ALTER TABLE maintenance_task ADD COLUMN found jsonb;

INSERT INTO maintenance_task (name) VALUES ('audit');
