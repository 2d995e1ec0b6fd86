// The ellipse x²/16 + y²/9 < 1, cells of size 0.2 at the centre and 0.6 at the rim.
// Origin: made for kspde (MIT). ellipse.msh is made by: gmsh -2 -format msh41 ellipse.geo
Point(1) = {0, 0, 0, 0.2};
Point(2) = {4, 0, 0, 0.6};
Point(3) = {0, 3, 0, 0.6};
Point(4) = {-4, 0, 0, 0.6};
Point(5) = {0, -3, 0, 0.6};
Ellipse(1) = {2, 1, 4, 3};
Ellipse(2) = {3, 1, 4, 4};
Ellipse(3) = {4, 1, 4, 5};
Ellipse(4) = {5, 1, 4, 2};
Curve Loop(1) = {1, 2, 3, 4};
Plane Surface(1) = {1};
Point{1} In Surface{1};
Physical Surface("cells") = {1};
