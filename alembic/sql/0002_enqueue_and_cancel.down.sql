DROP FUNCTION offer_providers(text[]), adjust_credits(text, bigint, text, text, text), grant_credits(text, bigint, text, text, text),
  post_credits(text, text, bigint, text, text, text), cancel_generation(uuid),
  enqueue_generation(text, text, jsonb, text, bigint, integer, timestamptz, text, integer, uuid, integer, timestamptz, uuid),
  enqueue_generations(jsonb), generation_line_end(text), generation_length(bigint, text),
  generation_request_problem(jsonb), generation_is_a_moment(text), generation_price(text, text), generation_payload_problem(text, jsonb);
