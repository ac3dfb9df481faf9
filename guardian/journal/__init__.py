"""The durable queue in front of the engine: bodies as received, on disk before anybody is told that they are.

records   one record as bytes, and the search for intact ones
files     the file operations, in one place
log       group commit, recovery, replay, trimming
"""

from guardian.journal.files import Files
from guardian.journal.log import Journal
from guardian.journal.records import Record

__all__ = ["Files", "Journal", "Record"]
