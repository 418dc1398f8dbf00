{#-
    The `lower` or `upper` bound of Wilson's 95% interval for a share: `successes` of `trials`; null without any trial.

    (s + z²/2 ± z √(s(n - s)/n + z²/4)) / (n + z²), z = 1.96 (Wilson 1927). Exactly 0 where nothing, 1 where all succeeded.
-#}
{% macro wilson_bound(successes, trials, bound) -%}
{%- set z = 1.959963984540054 -%}
{%- set s, n = "cast(" ~ successes ~ " as " ~ dbt_labels.type_double() ~ ")", "cast(" ~ trials ~ " as " ~ dbt_labels.type_double() ~ ")" -%}
    case
        when {{ trials }} = 0 then null
        {%- if bound == "lower" %}
        when {{ successes }} = 0 then 0
        {%- else %}
        when {{ successes }} = {{ trials }} then 1
        {%- endif %}
        else (
            {{ s }} + {{ z * z / 2 }}
            {{ "-" if bound == "lower" else "+" }} {{ z }} * sqrt({{ s }} * ({{ n }} - {{ s }}) / {{ n }} + {{ z * z / 4 }})
        ) / ({{ n }} + {{ z * z }})
    end
{%- endmacro %}
