-- A row is a record of a call or an attempt whose job is gone: pruning removes them together, so the job was deleted by
-- hand. Its calls still stand on the provider's bill.
SELECT job_id, 'provider_call' AS kept_in, count(*) AS rows FROM provider_call c
 WHERE NOT EXISTS (SELECT FROM generation_job j WHERE j.id = c.job_id) GROUP BY job_id
UNION ALL
SELECT job_id, 'job_attempt', count(*) FROM job_attempt a
 WHERE NOT EXISTS (SELECT FROM generation_job j WHERE j.id = a.job_id) GROUP BY job_id
