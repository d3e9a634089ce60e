"""Sources of generated views: callables of images and their ids, given to training as ``--views.generated``."""

from ssl_bench.generation.sources.cached import CachedViews as CachedViews
from ssl_bench.generation.sources.online_search import OnlineSearch as OnlineSearch
from ssl_bench.generation.sources.original import original_images as original_images
from ssl_bench.generation.sources.perturbed import PerturbedViews as PerturbedViews
from ssl_bench.generation.sources.trained_viewmaker import ViewMakerViews as ViewMakerViews
