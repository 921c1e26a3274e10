"""The fifteen statistical tests of NIST SP 800-22 rev. 1a (2010), our own, numba where bits are walked through.

Each test takes bits as uint8 zeros and ones and gives p-values; `battery.run` runs all of them. They say whether bits
look random, which a cipher's output must, and nothing of whether it is a good cipher: keystream reuse, guessed keys
and unseen tampering change none of them.

========================  =======  ==============================================
test                      section  where
========================  =======  ==============================================
frequency                 2.1      `frequency.monobit`
block frequency           2.2      `frequency.block_frequency`
runs                      2.3      `frequency.runs`
longest run of ones       2.4      `frequency.longest_run`
binary matrix rank        2.5      `structure.matrix_rank`
spectral                  2.6      `structure.spectral`
non-overlapping template  2.7      `templates.non_overlapping`
overlapping template      2.8      `templates.overlapping`
universal                 2.9      `structure.universal`
linear complexity         2.10     `structure.linear_complexity`
serial                    2.11     `templates.serial`
approximate entropy       2.12     `templates.approximate_entropy`
cumulative sums           2.13     `walks.cumulative_sums`
random excursions         2.14     `walks.random_excursions`
excursions variant        2.15     `walks.random_excursions_variant`
========================  =======  ==============================================
"""
