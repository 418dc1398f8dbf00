{#-
    What came of the earlier attempts of each text that has any for a version, labels aside. One row per text.

    `failures` used up an attempt, `truncations` are those of them that met the output limit, `unavailable_in_row` the last
    ones in a row that the provider did not carry out; all since the text was last reopened. `attempt` is the last one's number.
-#}
{% macro text_history(labels, version) -%}
    select
        text_key,
        max(attempt) as attempt,
        cast(sum(case when outcome = 'failed' and reason in ('truncated', 'invalid') and attempt > reopened then 1 else 0 end)
            as {{ dbt.type_bigint() }}) as failures,
        cast(sum(case when outcome = 'failed' and reason = 'truncated' and attempt > reopened then 1 else 0 end)
            as {{ dbt.type_bigint() }}) as truncations,
        cast(sum(case when outcome = 'failed' and reason = 'unavailable' and attempt > last_other then 1 else 0 end)
            as {{ dbt.type_bigint() }}) as unavailable_in_row
    from (
        select
            text_key,
            attempt,
            outcome,
            reason,
            max(case when outcome = 'reopened' then attempt else 0 end) over (partition by text_key) as reopened,
            max(case when outcome = 'failed' and reason = 'unavailable' then 0 else attempt end)
                over (partition by text_key) as last_other
        from {{ labels }}
        where version = {{ version }} and outcome <> 'labelled'
    ) as attempts
    group by text_key
{%- endmacro %}
