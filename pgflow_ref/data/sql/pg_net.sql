-- What cores from 0.10 on take from the extension pg_net. This one sends nothing: it writes down
-- each request, and answers with its number.

CREATE SCHEMA IF NOT EXISTS net;
COMMENT ON SCHEMA net IS
    'stand-in of pgflow-ref: records requests in net.requests_recorded and sends nothing';

CREATE TABLE net.requests_recorded (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    method text NOT NULL,
    url text NOT NULL,
    params jsonb,
    headers jsonb,
    body jsonb,
    timeout_milliseconds integer
);

-- SECURITY DEFINER: whoever may run a flow must not need rights on a log.
CREATE FUNCTION net.http_post(
    url text,
    body jsonb DEFAULT '{}',
    params jsonb DEFAULT '{}',
    headers jsonb DEFAULT '{"Content-Type": "application/json"}',
    timeout_milliseconds integer DEFAULT 5000
) RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path = ''
AS $stand_in$
    INSERT INTO net.requests_recorded (method, url, params, headers, body, timeout_milliseconds)
    VALUES ('POST', http_post.url, http_post.params, http_post.headers, http_post.body,
            http_post.timeout_milliseconds)
    RETURNING id;
$stand_in$;

CREATE FUNCTION net.http_get(
    url text,
    params jsonb DEFAULT '{}',
    headers jsonb DEFAULT '{}',
    timeout_milliseconds integer DEFAULT 5000
) RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path = ''
AS $stand_in$
    INSERT INTO net.requests_recorded (method, url, params, headers, timeout_milliseconds)
    VALUES ('GET', http_get.url, http_get.params, http_get.headers,
            http_get.timeout_milliseconds)
    RETURNING id;
$stand_in$;

-- Where pg_net keeps answers: there are none.
CREATE TABLE net._http_response (
    id bigint,
    status_code integer,
    content_type text,
    headers jsonb,
    content text,
    timed_out boolean,
    error_msg text,
    created timestamptz NOT NULL DEFAULT now()
);
