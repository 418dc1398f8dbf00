{#- Whether a text has nothing to label: null, or only white space, control and invisible characters. -#}
{% macro is_blank(column) %}
    {{ return(adapter.dispatch("is_blank", "dbt_labels")(column)) }}
{% endmacro %}

{% macro default__is_blank(column) -%}
    ({{ column }} is null or trim({{ column }}) = '')
{%- endmacro %}

{#- Besides separators, control and format characters: the Hangul fillers, the empty braille cell, joiners and selectors
    that have no form of their own, all of which people post as "nothing". -#}
{% macro duckdb__is_blank(column) -%}
    ({{ column }} is null or regexp_full_match(
        {{ column }},
        '[\s\p{Z}\p{Cc}\p{Cf}\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}\x{034F}\x{FE00}-\x{FE0F}]*'
    ))
{%- endmacro %}
