"""What each process of a graph may publish, subscribe to and serve, as a policy of SROS 2."""

from .policy import write as write
from .rights import Enclave as Enclave
from .rights import Profile as Profile
from .rights import Right as Right
from .rights import Use as Use
from .rights import enclaves as enclaves
