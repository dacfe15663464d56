-- For how many seconds a gate lets a call wait that has, or has not, a permit, and why; null: it lets it through.
CASE WHEN open_for > 0 THEN open_for
     WHEN limited_for > 0 THEN limited_for
     WHEN NOT has_permit AND gate_sum(window_now) >= calls_per_minute THEN greatest(gate_room_in(window_now, tenth, now), 0.1)
END AS closed,
CASE WHEN open_for > 0 THEN opened_for
     WHEN limited_for > 0 THEN closed_for
     ELSE format('%%s calls a minute are used up', calls_per_minute) END AS reason
