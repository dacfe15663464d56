-- Records the result of one try, if the delivery is still this courier's: after its lease it belongs to the worker that
-- claimed it then, or to a person who has replayed it.
--
-- A success ends the endpoint's failing, a failure begins it. One that has been failing for longest_failing seconds is
-- disabled, and so is one that is gone. An endpoint that is as it should be is not written.
WITH recorded AS (
  UPDATE generation.webhook_delivery
     SET status = %(status)s, lease_token = NULL, last_status = %(answer)s, last_error = %(error)s,
         next_at = CASE WHEN %(status)s = 'pending' THEN clock_timestamp() + make_interval(secs => %(delay)s) ELSE next_at END,
         finished_at = CASE WHEN %(status)s <> 'pending' THEN clock_timestamp() END
   WHERE id = %(id)s AND lease_token = %(token)s
  RETURNING endpoint_id
), found AS MATERIALIZED (
  SELECT e.id, e.failing_since,
         CASE WHEN %(gone)s THEN 'it is gone: ' || %(error)s::text
              WHEN %(status)s <> 'delivered'
               AND e.failing_since < statement_timestamp() - make_interval(secs => %(longest_failing)s)
              THEN 'it has been failing since ' || generation.webhook_moment(e.failing_since) || ': ' || %(error)s::text END AS ends_for
    FROM generation.webhook_endpoint e JOIN recorded ON e.id = recorded.endpoint_id
   WHERE e.disabled_at IS NULL
     AND (%(status)s <> 'delivered' OR e.failing_since IS NOT NULL OR e.closed_until IS NOT NULL)
     FOR NO KEY UPDATE OF e
), endpoint AS (
  UPDATE generation.webhook_endpoint e
     SET failing_since = CASE WHEN %(status)s <> 'delivered' THEN coalesce(f.failing_since, clock_timestamp()) END,
         closed_until = CASE WHEN %(status)s = 'delivered' THEN NULL
                             WHEN %(rest)s::float8 IS NULL THEN e.closed_until
                             ELSE clock_timestamp() + make_interval(secs => %(rest)s) END,
         disabled_at = CASE WHEN f.ends_for IS NOT NULL THEN clock_timestamp() END, disabled_for = left(f.ends_for, 500)
    FROM found f WHERE e.id = f.id
  RETURNING e.disabled_for
)
SELECT (SELECT disabled_for FROM endpoint) AS disabled_for FROM recorded
