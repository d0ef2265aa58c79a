"""What is promised, and which tests prove it; a test fails for a promise without a proof.

Ids are the rows of the product's requirements. A row that is not here is not claimed.
"""

from __future__ import annotations

from typing import Final

_SEED = "e2e/test_seed.py"
_LOAD = "unit/config/test_load.py"
_DOOR = "integration/http/test_door.py"
_LEGACY = "integration/mcp/test_legacy.py"
_QUERY = "integration/tables/test_query.py"
_WRITES = "integration/tables/test_writes.py"
_MATRIX = "security/test_matrix.py"
_SCOPE = f"{_MATRIX}::test_every_scope_stands_alone_in_the_matrix"
_ISOLATION = "security/test_isolation.py::test_two_tenants_never_meet"
_SESSIONS = "integration/mcp/test_sessions.py"
_STREAMS = "integration/mcp/test_streams.py"
_CLIENT = "e2e/test_mcp_client.py"

PROMISES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "F1": (
        "A built-in MCP server over JSON-RPC 2.0.",
        (f"{_CLIENT}::test_every_tool_can_be_called",),
    ),
    "F2": (
        "Query and modify tables under row-level security.",
        (_ISOLATION, f"{_QUERY}::test_a_filter_finds_exactly_its_rows"),
    ),
    "F8": (
        "fluxbase.yaml has the block mcp.",
        (
            f"{_LOAD}::test_the_block_people_know_loads",
            f"{_SEED}::test_the_yaml_block_is_read_with_its_values",
        ),
    ),
    "F9": (
        "mcp.enabled is false by default.",
        (
            f"{_LOAD}::test_the_defaults_are_those_of_the_block_but_off",
            f"{_DOOR}::test_an_endpoint_that_is_not_enabled_does_not_exist",
        ),
    ),
    "F10": (
        "mcp.base_path moves the whole surface.",
        (f"{_DOOR}::test_the_whole_surface_moves_with_the_base_path",),
    ),
    "F11": (
        "mcp.session_timeout ends idle sessions, after 3600s by default.",
        (
            f"{_SESSIONS}::test_idle_sessions_end_and_used_ones_do_not",
            f"{_LOAD}::test_the_defaults_are_those_of_the_block_but_off",
        ),
    ),
    "F12": (
        "Messages over mcp.max_message_size are refused with 413.",
        (
            f"{_DOOR}::test_too_many_bytes_are_413_as_soon_as_they_are_announced",
            f"{_DOOR}::test_too_many_bytes_are_413_when_nothing_is_announced",
        ),
    ),
    "F13": (
        "mcp.rate_limit_per_min holds for each client, with Retry-After.",
        (
            f"{_DOOR}::test_calls_are_counted_down_and_then_429",
            "unit/limits/test_rate.py::test_exactly_the_limit_is_allowed",
        ),
    ),
    "F14": (
        "mcp.allowed_tools limits the tools; empty means all.",
        (
            f"{_MATRIX}::test_the_configuration_s_lists_bind_every_caller",
            "integration/app/test_reload.py::test_a_good_file_is_taken_over",
        ),
    ),
    "F15": (
        "mcp.allowed_resources limits the resources; empty means all.",
        (f"{_MATRIX}::test_the_configuration_s_lists_bind_every_caller",),
    ),
    "F16": (
        "Every request needs a credential.",
        (
            f"{_DOOR}::test_a_stranger_is_401_with_a_challenge",
            "integration/http/test_routes.py::test_each_route_opens_to_whom_it_should",
        ),
    ),
    "F17": (
        "Client keys carry scopes.",
        (_SCOPE, f"{_MATRIX}::test_a_caller_has_exactly_the_tools_of_its_row"),
    ),
    "F18": (
        "The command line makes client keys as the manual says.",
        ("e2e/test_cli_keys.py::test_the_line_of_the_manual_makes_a_key_on_an_empty_machine",),
    ),
    "F19": ("X-Client-Key.", (f"{_SEED}::test_the_key_of_the_command_lists_the_tools",)),
    "F20": (
        "X-Service-Key has full access and bypasses row-level security.",
        (
            f"{_SEED}::test_a_service_key_lists_the_tools",
            f"{_CLIENT}::test_a_service_key_sees_every_row",
        ),
    ),
    "F21": ("Scope read:tables.", (_SCOPE,)),
    "F22": ("Scope write:tables.", (_SCOPE,)),
    "F29": ("Scope read:schema.", (_SCOPE,)),
    "F30": (
        "GET /mcp/health needs no credential.",
        (f"{_SEED}::test_health_needs_no_key",),
    ),
    "F31": (
        "POST /mcp takes JSON-RPC.",
        (f"{_DOOR}::test_without_a_session_the_endpoint_answers_post_only",),
    ),
    "F32": ("initialize.", (f"{_LEGACY}::test_a_known_version_is_agreed_to",)),
    "F33": ("ping.", (f"{_LEGACY}::test_every_answer_fits_the_schema_of_its_version",)),
    "F34": ("tools/list.", (f"{_CLIENT}::test_every_tool_is_listed_with_schemas_and_hints",)),
    "F35": ("tools/call.", (f"{_CLIENT}::test_every_tool_can_be_called",)),
    "F36": ("resources/list.", (f"{_CLIENT}::test_resources_are_listed_and_read",)),
    "F37": ("resources/read.", (f"{_CLIENT}::test_resources_are_listed_and_read",)),
    "F38": (
        "A bare curl works: no initialize, no session, no Accept.",
        (
            f"{_SEED}::test_the_key_of_the_command_lists_the_tools",
            f"{_DOOR}::test_the_bare_lines_of_curl_work",
        ),
    ),
    "F39": (
        "query_table takes table, select, filter with PostgREST's operators, and limit.",
        (f"{_QUERY}::test_a_filter_finds_exactly_its_rows",),
    ),
    "F40": (
        "Results are text blocks of JSON with isError.",
        (
            f"{_SEED}::test_the_example_request_has_the_example_response",
            f"{_QUERY}::test_the_text_block_is_a_bare_array_and_the_envelope_is_structured",
        ),
    ),
    "F41": ("All database operations respect row-level security.", (_ISOLATION,)),
    "F42": (
        "Service keys bypass row-level security.",
        (f"{_CLIENT}::test_a_service_key_sees_every_row",),
    ),
    "F44": (
        "Injection is prevented by parameters and by names from the catalog.",
        (
            "security/test_injection.py::test_no_argument_of_a_tool_becomes_sql",
            "security/test_injection.py::test_no_uri_becomes_sql",
            "security/test_sqlmap.py::test_sqlmap_finds_the_planted_holes_and_nothing_in_any_tool",
        ),
    ),
    "T2": (
        "POST opens a session or sends a request.",
        (f"{_SESSIONS}::test_a_client_that_initializes_gets_a_session",),
    ),
    "T3": (
        "GET is the event stream of a session.",
        (
            f"{_STREAMS}::test_a_change_of_a_key_is_told_to_its_streams",
            f"{_STREAMS}::test_the_rest_of_a_broken_stream_is_fetched_with_the_last_id",
        ),
    ),
    "T4": (
        "DELETE ends a session; its next use is 404.",
        (f"{_SESSIONS}::test_a_session_that_was_ended_is_gone",),
    ),
    "T5": (
        "Every request needs a key, also as a bearer; without it 401 and JSON.",
        (f"{_DOOR}::test_a_stranger_is_401_with_a_challenge",),
    ),
    "T10": (
        "Sessions are tracked by Mcp-Session-Id, and belong to their key.",
        (f"{_SESSIONS}::test_a_session_of_another_key_is_404",),
    ),
    "T11": (
        "At most 100 sessions of a key; the next is 503.",
        (
            f"{_SESSIONS}::test_the_next_session_over_a_keys_cap_is_503_until_one_ends",
            f"{_SESSIONS}::test_many_at_once_never_get_more_than_the_cap",
        ),
    ),
    "T12": (
        "Sessions end after a time of inactivity.",
        (f"{_SESSIONS}::test_idle_sessions_end_and_used_ones_do_not",),
    ),
    "L8": (
        "GET /mcp/tools lists the tools, for programs of this machine without a key.",
        (
            "integration/http/test_rest.py::"
            "test_programs_of_this_machine_see_the_list_without_a_key",
            "e2e/test_readme.py::test_every_curl_of_plain_http_answers",
        ),
    ),
    "L9": (
        "POST /mcp/tools/{tool} with arguments as JSON gives 200 and JSON, for our own tools.",
        (
            "integration/http/test_rest.py::test_a_call_has_the_same_data_by_either_way",
            "e2e/test_readme.py::test_every_curl_of_plain_http_answers",
        ),
    ),
    "F46": (
        "Reference of tools and resources, and security practices.",
        (
            "unit/test_house.py::test_a_generated_file_is_fresh",
            "unit/test_house.py::test_links_between_documents_lead_somewhere",
        ),
    ),
    "F3": (
        "Upload, download and manage files in storage.",
        (
            "integration/storage/test_tools.py::test_what_is_uploaded_is_downloaded",
            "integration/storage/test_tools.py::test_an_object_is_moved_and_copied",
            "e2e/test_files.py::test_a_gigabyte_goes_up_and_down_in_little_memory",
        ),
    ),
    "F25": (
        "read:storage lists and downloads files, and nothing else does.",
        (
            "security/test_matrix.py::test_a_caller_has_exactly_the_tools_of_its_row",
            "integration/storage/test_http.py::test_keys_without_the_scope_have_no_door",
        ),
    ),
    "F26": (
        "write:storage uploads and deletes files, and nothing else does.",
        (
            "security/test_matrix.py::test_a_caller_has_exactly_the_tools_of_its_row",
            "integration/storage/test_http.py::test_keys_without_the_scope_have_no_door",
        ),
    ),
    "F45": (
        "A download through a tool is limited to 10 MB.",
        ("integration/storage/test_tools.py::test_a_model_gets_the_beginning_of_what_is_too_long",),
    ),
    "F6": (
        "Submit and monitor background jobs.",
        (
            "integration/jobs/test_jobs.py::test_a_job_is_done_and_its_result_told",
            "integration/jobs/test_jobs.py::test_a_job_has_the_rights_of_its_caller",
            "integration/jobs/test_jobs.py::test_nobody_is_told_of_jobs_of_others",
            "integration/jobs/test_jobs.py::test_only_those_for_whom_it_is_published_know_of_it",
            "integration/jobs/test_killed.py::test_jobs_survive_workers_that_are_killed_at_random",
            "integration/jobs/test_schedules.py::test_a_time_comes_once_for_any_number_of_servers",
            "e2e/test_cli_jobs.py::test_the_official_client_hears_of_progress_and_result",
        ),
    ),
    "F27": (
        "execute:jobs submits and monitors jobs, and nothing else does.",
        ("security/test_matrix.py::test_a_caller_has_exactly_the_tools_of_its_row",),
    ),
    "F7": (
        "Search vector embeddings.",
        (
            "integration/vectors/test_search.py::test_words_find_what_means_the_same",
            "integration/vectors/test_search.py::test_hybrid_finds_by_meaning_and_by_word",
            "integration/vectors/test_search.py::"
            "test_an_index_fills_the_answer_though_row_level_security_hides_most",
            "integration/vectors/test_hybrid.py::test_hybrid_beats_words_alone_and_meaning_alone",
            "integration/vectors/test_filling.py::"
            "test_the_queue_waits_for_a_model_that_is_away_and_catches_up",
        ),
    ),
    "F28": (
        "read:vectors searches vectors, and nothing else does.",
        ("security/test_matrix.py::test_a_caller_has_exactly_the_tools_of_its_row",),
    ),
    "F43": (
        "Internal schemas are hidden from non-administrators.",
        (
            "security/test_internal_schemas.py::test_no_tool_reaches_a_schema_of_the_server",
            "security/test_internal_schemas.py::test_no_list_names_one",
            "security/test_internal_schemas.py::test_no_resource_reads_one",
            "security/test_internal_schemas.py::test_control_administrators_read_them",
        ),
    ),
    "T18": (
        "Tools query the database and manage it.",
        (
            "integration/sql/test_execute_sql.py::test_a_select_gives_the_caller_s_rows",
            "integration/schema/test_ddl_tools.py::test_the_life_of_a_table",
            "integration/schema/test_alter_tools.py::"
            "test_a_column_is_altered_and_what_is_kept_takes_it_back",
            "integration/schema/test_tenants_of_made_tables.py::"
            "test_each_sees_its_own_rows_before_and_after_the_policy_is_altered",
            "integration/schema/test_admin_tools.py::test_what_is_unsafe_is_found_with_its_remedy",
        ),
    ),
    "F5": (
        "Invoke RPC procedures.",
        (
            "integration/rpc/test_rpc.py::test_parameters_come_by_name_and_defaults_stand_in",
            "integration/rpc/test_rpc.py::test_a_call_has_the_rights_of_its_caller",
            "integration/rpc/test_rpc.py::test_only_those_for_whom_it_is_published_know_of_it",
            "integration/rpc/test_async.py::test_it_is_answered_at_once_and_its_data_are_kept",
            "integration/rpc/test_async.py::test_it_can_be_cancelled_and_changes_nothing",
            "e2e/test_cli_rpc.py::test_what_a_killed_server_ran_is_told_as_failed_by_another",
            "integration/rpc/test_answers.py::test_no_two_callers_share_an_answer",
            "integration/rpc/test_answers.py::test_a_write_with_a_key_is_done_once",
        ),
    ),
    "F24": ("Scope execute:rpc.", (_SCOPE,)),
    "F4": (
        "Invoke edge functions.",
        (
            "integration/functions/test_functions.py::"
            "test_a_function_answers_with_status_headers_and_body",
            "integration/functions/test_functions.py::"
            "test_it_sees_the_rows_of_its_caller_and_of_nobody_else",
            "integration/functions/test_functions.py::"
            "test_roles_scopes_and_namespaces_decide_who_may_invoke_and_who_is_told",
            "security/test_sandbox.py::test_nothing_of_the_machine_can_be_reached",
        ),
    ),
    "F23": ("Scope execute:functions.", (_SCOPE,)),
}
