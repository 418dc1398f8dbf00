{#- What stands after the columns of a new table, where an engine has to be told how to store it; else nothing. -#}
{% macro table_format() %}
    {{ return(adapter.dispatch("table_format", "dbt_labels")()) }}
{% endmacro %}

{% macro default__table_format() %}
    {{ return("") }}
{% endmacro %}

{#-
    Parquet needs nothing but Spark itself. The options are for whoever appends while another does: a task's file appears in
    the table by one rename, and nobody deletes what others are about to rename. Hadoop's first algorithm deletes `_temporary`
    with the files of every other job that appends to the same table (SPARK-24238).
-#}
{% macro spark__table_format() %}
    {% set options = {
        "mapreduce.fileoutputcommitter.algorithm.version": "2",
        "mapreduce.fileoutputcommitter.cleanup.skipped": "true",
        "mapreduce.fileoutputcommitter.task.cleanup.enabled": "true",
        "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    } %}
    {% set told = [] %}
    {% for name, value in options.items() %}
        {% do told.append("    '" ~ name ~ "' '" ~ value ~ "'") %}
    {% endfor %}
    {{ return(" using parquet options (\n" ~ told | join(",\n") ~ "\n)") }}
{% endmacro %}
