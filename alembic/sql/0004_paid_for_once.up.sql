-- resumable: the provider keeps the answer to this call under provider_ref, and a later attempt may ask for it there
-- instead of paying again. False as soon as it is known that there is no image to be had.
ALTER TABLE provider_call ADD COLUMN resumable boolean NOT NULL DEFAULT false;
ALTER TABLE provider_call ADD CONSTRAINT resumable_has_a_ref CHECK (provider_ref IS NOT NULL OR NOT resumable);

-- Few jobs have a second call; which of them were paid twice is asked often.
CREATE INDEX provider_call_again ON provider_call (started_at) WHERE number > 1;

-- The bytes of an image that was paid for and could not be stored, until it is. Not compressed: images are.
-- No foreign key, for the reason that the other tables have none; what is left behind is pruned.
CREATE TABLE staged_image (
  job_id     uuid        PRIMARY KEY,
  provider   text        NOT NULL,
  model      text        NOT NULL,
  bytes      bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT bytes_are_bounded CHECK (length(bytes) BETWEEN 1 AND 10000000)
);
ALTER TABLE staged_image ALTER COLUMN bytes SET STORAGE EXTERNAL;
