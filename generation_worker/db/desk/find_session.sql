-- Whose session of the dashboard this is, if it has not ended.
SELECT token_id FROM dashboard_session WHERE id_hash = %(id_hash)s AND expires_at > statement_timestamp()
