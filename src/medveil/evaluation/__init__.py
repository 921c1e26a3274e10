"""One benchmark for every scheme: plan, run, results as data, scorecard and report.

::

    plan.py       the TOML plan, checked whole before anything runs
    subjects.py   the rows: every scheme of the registry with its variants, and the floors beside it
    floors.py     what any scheme must beat: AES-256-GCM, alone and behind JPEG-LS
    corpora.py    the pictures, the same for every row
    measures/     what is measured, one file a family; a new file is found by itself
    run.py        the tasks, in processes, resumable
    results.py    one record a task; JSON and Parquet, with environment and seeds
    scorecard.py  a promise a column, judged from the records alone
    report.py     one HTML file that needs no network

A scheme's claim is compared with what was measured; a promise that does not hold is named.
"""
