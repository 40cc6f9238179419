"""Air quality indices: pure functions over columns, each with the table, averaging and coverage rule of its authority.

    scale.py      what an index says of n concentrations: value, category, whether beyond its scale
    us_aqi.py     EPA's index, with the breakpoints of each year (us_aqi_tables.py)
    nowcast.py    EPA's NowCast of particles and ozone
    eaqi.py       the European index      daqi.py   the British one      who.py   WHO's guideline values of 2021
    means.py      rolling means with coverage      days.py   official days: local standard time, the city's zone
    overall.py    the worst pollutant      advice.py   what to do, in plain words
    hourly.py     a sensor's hours in, the rows of every index out

Concentrations are in the canonical units of schemas/quantities.py (ug/m3 for particles, ppb for O3, NO2 and SO2, ppm
for CO); NaN is no data, and stays no data. To add an index: a module with a `SCALE` and a `score`, and a line in
`INDICES` of hourly.py.
"""
