{#-
    What came of the earlier attempts of each text that has any for a version, labels aside. One row per text.

    `failures` used up an attempt, `truncations` are those of them that met the output limit, `unavailable_in_row` the last
    ones in a row that the provider did not carry out; all since the text was last reopened. `unpacked` are those in a packed
    request, which the text does not take part in again. `attempt` is the last one's number.
    Attempts are counted, not rows: a batch loaded twice changes nothing.
-#}
{% macro text_history(labels, version) -%}
    select
        text_key,
        max(attempt) as attempt,
        count(distinct case when reason in ('truncated', 'invalid') and attempt > reopened then failed end) as failures,
        count(distinct case when reason = 'truncated' and attempt > reopened then failed end) as truncations,
        count(distinct case when reason = 'unpacked' then failed end) as unpacked,
        count(distinct case when reason = 'unavailable' and attempt > last_other then failed end) as unavailable_in_row
    from (
        select
            text_key,
            attempt,
            reason,
            case when outcome = 'failed' then attempt end as failed,
            max(case when outcome = 'reopened' then attempt else 0 end) over (partition by text_key) as reopened,
            max(case when outcome = 'failed' and reason = 'unavailable' then 0 else attempt end)
                over (partition by text_key) as last_other
        from {{ labels }}
        where version = {{ version }} and outcome <> 'labelled'
    ) as attempts
    group by text_key
{%- endmacro %}
