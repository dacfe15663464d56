-- READS ONLY
-- What a job of each kind costs with each provider, in credits, where that price comes from and who set it. Change one
-- with generation-worker config set price.KIND 2, or price.KIND.PROVIDER 3 for one provider.
SET search_path = generation, pg_catalog, pg_temp; -- the schema of DATABASE_SCHEMA
SELECT kind, provider, generation_price(kind, provider) AS price, s.name AS setting, s.updated_at, s.updated_by
  FROM (SELECT kind, provider
          FROM unnest(ARRAY['text_to_image', 'image_conversion']) AS kind,
               jsonb_array_elements_text((SELECT value FROM fleet_setting WHERE name = 'providers')) AS provider
        UNION ALL SELECT 'image_processing', 'none') AS work
  LEFT JOIN LATERAL (
    SELECT * FROM fleet_setting f WHERE f.name IN ('price.' || kind || '.' || provider, 'price.' || kind)
     ORDER BY length(f.name) DESC LIMIT 1) s ON true
 ORDER BY kind, provider;
