{#- The key of a text: SHA-256 of its original characters, in hex. Commenters choose the texts, so MD5 will not do. -#}
{% macro text_key(column) %}
    {{ return(adapter.dispatch("text_key", "dbt_labels")(column)) }}
{% endmacro %}

{% macro default__text_key(column) %}
    {{ exceptions.raise_compiler_error(
        "dbt_labels has no text_key for " ~ target.type ~ " yet: write " ~ target.type
        ~ "__text_key(column) in your project, giving SHA-256 in lower-case hex"
    ) }}
{% endmacro %}

{% macro duckdb__text_key(column) -%}
    sha256({{ column }})
{%- endmacro %}

{% macro postgres__text_key(column) -%}
    encode(sha256(convert_to({{ column }}, 'UTF8')), 'hex')
{%- endmacro %}

{% macro spark__text_key(column) -%}
    sha2({{ column }}, 256)
{%- endmacro %}
