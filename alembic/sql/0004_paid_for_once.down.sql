DROP TABLE staged_image;
DROP INDEX provider_call_again;
ALTER TABLE provider_call DROP COLUMN resumable;
