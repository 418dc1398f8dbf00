{#-
    The texts of a task's table that will not be labelled: rejected, not opened again since, and without a label. One row per
    text and version.
-#}
{% macro rejections(labels) %}
    select
        text_key,
        version,
        attempt,
        reason,
        raw,
        batch_key,
        labelled_at as rejected_at
    from (
        -- a label over everything, then the latest of rejected and reopened: a reopening carries the attempt that it lifts
        select
            text_key,
            version,
            attempt,
            outcome,
            reason,
            raw,
            batch_key,
            labelled_at,
            row_number() over (
                partition by version, text_key
                order by
                    case outcome when 'labelled' then 0 else 1 end,
                    attempt desc,
                    case outcome when 'reopened' then 0 else 1 end,
                    labelled_at,
                    batch_key
            ) as place
        from {{ labels }}
        where outcome in ('labelled', 'rejected', 'reopened')
    ) as decisions
    where place = 1 and outcome = 'rejected'
{%- endmacro %}
