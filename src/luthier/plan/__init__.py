"""What a run takes and what its evaluation can tell, before anything is paid; without torch."""

from luthier.verbs import make_callable

make_callable(__name__)
