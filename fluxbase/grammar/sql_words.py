"""What free SQL may be made of: kinds of nodes, functions and types; everything else is refused.

It is the second wall. The first is Postgres: the statement runs on a connection that logged in as
the key's own role, so what slips through here still reads no more than the key may.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Classes of sqlglot's tree, by name.
SYNTAX: Final = _words("""
    Select Union Intersect Except Subquery With CTE Values Tuple Table TableAlias Identifier
    Column Star Alias Aliases Literal Boolean Null Parameter Placeholder Paren Where Having
    Group Order Ordered Limit Offset Fetch From Join Lateral Distinct Window WindowSpec Filter
    WithinGroup Unnest GroupingSets Rollup Cube TableSample And Or Not EQ NEQ GT GTE LT LTE Is
    In Between Like ILike SimilarTo Exists Any All NullSafeEQ NullSafeNEQ Escape Add Sub Mul Div
    Mod IntDiv Pow Neg DPipe SafeDPipe Distance BitwiseAnd BitwiseOr BitwiseXor BitwiseNot
    BitwiseLeftShift BitwiseRightShift Collate AtTimeZone RegexpLike RegexpILike
    ArrayContainsAll ArrayContainedBy ArrayOverlaps ArrayConcat JSONExtract JSONExtractScalar
    JSONBExtract JSONBExtractScalar JSONBContains JSONBContainsAllTopKeys
    JSONBContainsAnyTopKeys JSONPath JSONPathRoot JSONPathKey JSONPathSubscript MatchAgainst
    Case If Cast TryCast DataType DataTypeParam Interval Var Bracket Slice Array Dot CurrentDate
    CurrentTime CurrentTimestamp Localtime Localtimestamp CurrentUser SessionUser Extract
    Anonymous Concat SafeConcat Insert Update Delete Returning OnConflict Set Schema
    """)
# Nodes that are written without a function's parentheses, though the tree calls them functions.
OPERATORS: Final = _words("""
    And Or Case If Cast Array CurrentDate CurrentTime CurrentTimestamp Localtime Localtimestamp
    CurrentUser SessionUser RegexpLike RegexpILike JSONExtract JSONExtractScalar JSONBExtract
    JSONBExtractScalar JSONBContains JSONBContainsAllTopKeys JSONBContainsAnyTopKeys
    ArrayContainsAll ArrayContainedBy ArrayOverlaps ArrayConcat Any All Exists Mod Pow Concat
    SafeConcat DPipe MatchAgainst Distance Unnest
    """)
FUNCTIONS: Final = _words("""
    count sum avg min max array_agg string_agg json_agg jsonb_agg json_object_agg
    jsonb_object_agg bool_and bool_or every stddev stddev_pop stddev_samp variance var_pop
    var_samp corr covar_pop covar_samp regr_slope regr_intercept regr_r2 percentile_cont
    percentile_disc mode any_value row_number rank dense_rank percent_rank cume_dist ntile lag
    lead first_value last_value nth_value coalesce nullif greatest least grouping exists any all
    some abs ceil ceiling floor round trunc sign sqrt cbrt power exp ln log log10 mod div gcd
    lcm degrees radians sin cos tan asin acos atan atan2 pi width_bucket random length
    char_length character_length octet_length bit_length lower upper initcap trim btrim ltrim
    rtrim substring substr position strpos replace translate left right split_part concat
    concat_ws reverse starts_with ascii chr md5 encode decode quote_literal regexp_replace
    regexp_match regexp_matches regexp_count regexp_substr regexp_split_to_table
    regexp_split_to_array to_char to_date to_timestamp to_number to_hex string_to_array
    string_to_table unistr normalize format date_trunc date_part date_bin extract age now
    current_date current_time current_timestamp localtime localtimestamp clock_timestamp
    statement_timestamp transaction_timestamp make_date make_time make_timestamp
    make_timestamptz make_interval justify_days justify_hours justify_interval isfinite timezone
    array array_length array_lower array_upper array_ndims array_dims array_append array_prepend
    array_cat array_position array_positions array_remove array_replace array_to_string
    cardinality unnest generate_series generate_subscripts to_json to_jsonb row_to_json
    array_to_json json_build_object jsonb_build_object json_build_array jsonb_build_array
    json_object jsonb_object json_typeof jsonb_typeof json_array_length jsonb_array_length
    json_array_elements jsonb_array_elements json_array_elements_text jsonb_array_elements_text
    json_each jsonb_each json_each_text jsonb_each_text json_object_keys jsonb_object_keys
    json_extract_path jsonb_extract_path json_extract_path_text jsonb_extract_path_text
    jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_path_exists
    jsonb_path_match jsonb_set jsonb_insert jsonb_strip_nulls json_strip_nulls jsonb_pretty
    lower_inc upper_inc lower_inf upper_inf isempty range_merge int4range int8range numrange
    daterange tsrange tstzrange to_tsvector to_tsquery plainto_tsquery phraseto_tsquery
    websearch_to_tsquery ts_rank ts_rank_cd ts_headline tsvector_to_array similarity
    word_similarity host network masklen netmask family abbrev gen_random_uuid l2_distance
    cosine_distance inner_product l1_distance vector_dims vector_norm cast row values
    """)
# Functions of schemas, as policies use them.
QUALIFIED: Final = frozenset(
    {
        "auth.uid",
        "auth.role",
        "auth.email",
        "auth.client_key_id",
        "storage.foldername",
        "storage.filename",
        "storage.extension",
    }
)
# Types that look things up in the catalog, whoever asks.
REFUSED_TYPES: Final = (
    "reg", "pg_", "oid", "xid", "cid", "tid", "xml", "aclitem", "refcursor",
)  # fmt: skip
