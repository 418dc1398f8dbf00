{#- Loads a seed on Spark: dbt-spark's own macro puts quotes around values without escaping what is in them. -#}
{% macro spark__load_csv_rows(model, agate_table) %}
    {% set types, written = model.config.get("column_types", {}), [] %}
    {% for rows in agate_table.rows | batch(500) %}
        {% set lines = [] %}
        {% for row in rows %}
            {% set values = [] %}
            {% for name in agate_table.column_names %}
                {% set type = types.get(name, adapter.convert_type(agate_table, loop.index0)) %}
                {% set literal = "null" if row[name] is none else dbt_labels.text_literal(row[name]) %}
                {% do values.append("cast(" ~ literal ~ " as " ~ type ~ ")") %}
            {% endfor %}
            {% do lines.append("(" ~ values | join(", ") ~ ")") %}
        {% endfor %}
        {% set sql = "insert into " ~ this ~ " values\n" ~ lines | join(",\n") %}
        {% do adapter.add_query(sql, abridge_sql_log=True) %}
        {% do written.append(sql) %}
    {% endfor %}
    {{ return(written | first) }}
{% endmacro %}
