"""Random numbers of images: distributions, and what they depend on."""

import torch

from ssl_bench.losses.hashing import normal_of_images, random_order, scramble


def test_hash_equals_one_with_integers_of_python() -> None:
    def by_hand(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    numbers = [0, 1, 7, 2**31, 2**32 - 1]
    assert scramble(torch.tensor(numbers)).tolist() == [by_hand(number) for number in numbers]


def test_orders_are_permutations_that_depend_on_id_and_step_only() -> None:
    orders = random_order(torch.tensor([5, 9]), 3, 16)
    assert torch.equal(orders.sort(1).values, torch.arange(16).expand(2, -1))
    assert torch.equal(random_order(torch.tensor([9]), 3, 16), orders[1:])
    assert not torch.equal(random_order(torch.tensor([9]), 4, 16), orders[1:])


def test_every_place_of_an_order_is_uniform() -> None:
    orders = random_order(torch.arange(20_000), 11, 8)
    counts = torch.nn.functional.one_hot(orders, 8).sum(0).double()
    chi_squared = ((counts - 2_500) ** 2 / 2_500).sum(1)
    assert chi_squared.max() < 32  # 7 degrees of freedom: probability 4e-5, of 8 places


def test_noise_is_standard_normal_and_independent_between_images_and_draws() -> None:
    x = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = normal_of_images(x, 0).flatten(1)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert abs(noise.pow(4).mean() - 3) < 0.1
    other = normal_of_images(x, 1).flatten(1)
    for a, b in ((noise, other), (noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1])):
        assert abs((a * b).mean()) < 0.02


def test_noise_depends_on_the_image_only() -> None:
    x = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = normal_of_images(x, 0)
    assert torch.equal(normal_of_images(x[2:], 0), noise[2:])
    changed = x.clone()
    changed[0, 0, 0, 0] = -changed[0, 0, 0, 0]
    assert (normal_of_images(changed, 0)[0] != noise[0]).float().mean() > 0.99
