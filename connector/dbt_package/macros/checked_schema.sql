{#- The name of a schema from a var or a profile, as it is; refused where it could end the quotes that it is written in.

    Spark's own catalog has no other names than plain ones, and dbt writes them without quotes there. -#}
{% macro checked_schema(name, where) %}
    {% if name is not string or not name.strip() or modules.re.search("[\"'`\\\\\x00-\x1f\x7f]", name) is not none %}
        {{ exceptions.raise_compiler_error(
            where ~ ": " ~ name | string | tojson ~ " can not be a schema's name: it must be a text without quotes,"
            ~ " backslashes and control characters"
        ) }}
    {% elif target.type == "postgres" and name.encode("utf-8") | length > 63 %}
        {{ exceptions.raise_compiler_error(
            where ~ ": " ~ name | tojson ~ " has more than 63 bytes, and PostgreSQL would cut it: name a shorter schema by"
            ~ " the var `dbt_labels_schema`"
        ) }}
    {% elif target.type == "spark" and modules.re.fullmatch("[A-Za-z0-9_]+", name) is none %}
        {{ exceptions.raise_compiler_error(
            where ~ ": " ~ name | tojson ~ " can not be a schema's name on Spark: letters, digits and _ make one"
        ) }}
    {% endif %}
    {{ return(name) }}
{% endmacro %}
