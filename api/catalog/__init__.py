"""The catalog: what there is, told in the words of those who collect catalogs.

    facts.py      what is measured of a dataset: newest reading, lateness, share of missing time
    entry.py      a dataset with its facts and addresses, from which every document below is made
    dcat_us.py    DCAT-US 1.1 (/data.json) and 3.0 (/dcat-us-3.json)
    dcat_ap.py    DCAT-AP 3 (/catalog.jsonld, /catalog.ttl)
    schema_org.py schema.org Dataset and Croissant, for search engines and machine learning
    package.py    Frictionless data packages
    atom.py       the feed of changes
    pages.py      the pages for people, /catalog and /catalog/{dataset}

Documents are pure functions of entries; api/routes/catalog.py serves them. To add a form of the catalog, add a file and
a route there.
"""
